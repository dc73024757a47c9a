//! Progress bars: only on a terminal's stderr, cleared before any message.

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How often a bar is drawn at most.
const REDRAW: Duration = Duration::from_millis(100);

/// All bars of the process; created with the first one, so that a run without bars pays nothing.
#[derive(Debug, Default)]
pub struct Bars {
    shown: OnceLock<MultiProgress>,
    lock: Mutex<()>,
}

impl Bars {
    /// A new bar over `total` bytes, or a spinner where the total is unknown.
    pub fn start(&self, label: &str, total: Option<u64>) -> Bar {
        let bars = self.shown.get_or_init(MultiProgress::new);
        let bar = bars.add(match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        });
        let template = match total {
            Some(_) => "{msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{msg} {spinner} {bytes} {bytes_per_sec} {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(label.to_owned());
        bar.enable_steady_tick(REDRAW);
        Bar(Some(bar))
    }

    /// Runs `print` while no bar is on the screen.
    pub fn hidden_while<T>(&self, print: impl FnOnce() -> T) -> T {
        let _one_at_a_time = self.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match self.shown.get() {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }
}

/// One bar, or nothing where none is wanted. Dropping it clears it.
#[derive(Debug, Clone, Default)]
pub struct Bar(Option<ProgressBar>);

impl Bar {
    /// A progress that nobody sees.
    pub fn hidden() -> Bar {
        Bar(None)
    }

    /// `bytes` more are done.
    pub fn add(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }

    /// So many bytes are done in all.
    pub fn set(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(bytes);
        }
    }

    /// Says something else beside the bar.
    pub fn say(&self, text: impl Into<String>) {
        if let Some(bar) = &self.0 {
            bar.set_message(text.into());
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
