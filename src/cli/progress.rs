//! The progress bar: one line at the bottom of a terminal's stderr, which fits the terminal and is cleared before anything else is
//! printed there.

mod line;

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

pub use line::{Figures, Measure};

/// The interval between two drawings of the bar. A run that is shorter shows no bar.
const REDRAW: Duration = Duration::from_millis(100);
/// The number of redraws over which the rate is measured.
const RATE_SAMPLES: usize = 50;
/// The width, in columns, of a terminal that does not report its own.
const USUAL_WIDTH: usize = 80;

/// True while a bar is on the screen.
static SHOWN: Mutex<bool> = Mutex::new(false);
/// True while a bar exists. All transfers of a process share one line and one bar.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Clears the bar and runs `print` before the bar is drawn again.
pub fn above<T>(print: impl FnOnce() -> T) -> T {
    let mut shown = screen();
    clear(&mut shown);
    print()
}

/// True if a bar can be shown: stderr is a terminal that can clear a line.
pub fn is_possible() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn screen() -> MutexGuard<'static, bool> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn clear(shown: &mut bool) {
    if std::mem::take(shown) {
        // A terminal that is gone shows nothing.
        let _ = io::stderr().write_all(b"\r\x1b[K");
    }
}

/// A progress bar, or a hidden one. The drop of the last handle clears the bar.
#[derive(Debug, Clone, Default)]
pub struct Bar(Option<Arc<BarState>>);

#[derive(Debug)]
struct BarState {
    figures: Mutex<Figures>,
    started: Instant,
}

impl Bar {
    /// Starts a bar. The result is a hidden bar while another one exists, or if the system gives no thread.
    pub fn start(label: &str, measure: Measure) -> Bar {
        if TAKEN.swap(true, Ordering::Relaxed) {
            return Bar::hidden();
        }
        let figures = Mutex::new(Figures::new(label, measure));
        let state = Arc::new(BarState { figures, started: Instant::now() });
        let drawn = Arc::downgrade(&state);
        match std::thread::Builder::new().name("progress".to_owned()).spawn(move || draw_regularly(&drawn)) {
            Ok(_) => Bar(Some(state)),
            // Progress is not worth a failure.
            Err(_) => Bar::hidden(),
        }
    }

    /// A bar that is never drawn.
    pub fn hidden() -> Bar {
        Bar(None)
    }

    /// False for a hidden bar.
    pub fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    /// Changes the figures of the bar.
    pub fn update(&self, change: impl FnOnce(&mut Figures)) {
        if let Some(state) = &self.0 {
            change(&mut state.figures());
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(state) = &self.0 {
            state.figures().over = true;
            clear(&mut screen());
        }
    }
}

impl BarState {
    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BarState {
    fn drop(&mut self) {
        clear(&mut screen());
        TAKEN.store(false, Ordering::Relaxed);
    }
}

/// Draws the bar until it is finished or its last handle is dropped.
fn draw_regularly(bar: &Weak<BarState>) {
    let mut passed: VecDeque<(Instant, u64)> = VecDeque::new();
    loop {
        std::thread::sleep(REDRAW);
        let Some(state) = bar.upgrade() else { return };
        let figures = state.figures().clone();
        let now = Instant::now();
        passed.push_back((now, figures.fresh));
        if passed.len() > RATE_SAMPLES {
            passed.pop_front();
        }
        let (since, before) = passed.front().copied().filter(|_| passed.len() > 1).unwrap_or((state.started, 0));
        let time = now.saturating_duration_since(since).as_secs_f64().max(0.001);
        let rate = figures.fresh.saturating_sub(before) as f64 / time;
        let line = figures.line(rate, state.started.elapsed(), width());
        let mut shown = screen();
        // `finish` now waits for the screen, or has cleared it already.
        if state.figures().over {
            return;
        }
        *shown = true;
        let _ = io::stderr().write_all(format!("\r{line}\x1b[K").as_bytes());
    }
}

fn width() -> usize {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => USUAL_WIDTH,
    }
}
