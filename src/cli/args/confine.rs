//! Whose rights a server has, and which files it reaches.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::cli::args::{LogArgs, OutputArgs};
use crate::cli::output::Output;
use crate::cli::reload::Reloader;
use crate::fault::{Fault, Kind};
use crate::net::privilege::{self, UnixIdentity};
use crate::net::sandbox::{Sandbox, SandboxState};

/// Whose rights a server has, and which files it reaches.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct ConfineArgs {
    /// When started as root, become USER after ports are bound and keys are read (default: the owner of the served files)
    #[arg(long, value_name = "USER[:GROUP]")]
    pub run_as: Option<String>,
    /// Allow --run-as to name root
    #[arg(long, requires = "run_as")]
    pub i_know: bool,
    /// Do not restrict the server to the named files and directories
    #[arg(long)]
    pub no_sandbox: bool,
}

impl ConfineArgs {
    /// Whom root becomes: the user that `--run-as` names, else the owner of the first of the places in `served` that is not
    /// root's. `None` where this process is not root's.
    ///
    /// # Errors
    /// [`Kind::Usage`] if there is nobody to become, it is root without `--i-know`, or one who is not root is to become
    /// somebody else; those of [`UnixIdentity::parse`].
    pub fn successor(&self, served: &[PathBuf]) -> Result<Option<UnixIdentity>, Fault> {
        let named = self.run_as.as_deref().map(UnixIdentity::parse).transpose();
        let named = named.map_err(|fault| fault.context("--run-as"))?;
        let usage = |why: String| Err(Fault::new(Kind::Usage, why));
        match (named, privilege::is_root()) {
            (None, false) => Ok(None),
            (Some(user), false) if user.is_current() => Ok(None),
            (Some(user), false) => usage(format!("--run-as {user}: only root can become another user")),
            (Some(user), true) if user.is_root() && !self.i_know => {
                usage("--run-as root: who breaks in has the whole machine; --i-know takes that".to_owned())
            }
            (Some(user), true) => Ok(Some(user)),
            (None, true) => owner(served).map(Some).ok_or_else(|| {
                let why = served
                    .first()
                    .map_or("no user to serve as".to_owned(), |path| format!("{} belongs to root", path.display()));
                let fault = Fault::new(Kind::Usage, format!("started as root, and {why}"));
                fault.with_hint("--run-as USER names the user that serves")
            }),
        }
    }

    /// Root becomes its [`ConfineArgs::successor`]. Nobody gains rights from here on. Before the first thread, and after
    /// everything that root may have to open: what of it this user cannot open again is said now.
    ///
    /// # Errors
    /// Those of [`ConfineArgs::successor`] and [`privilege::become_user`].
    pub fn give_up_root(&self, out: &Output, files: (&[&Path], &Reloader), served: &[PathBuf]) -> Result<(), Fault> {
        if let Some(user) = self.successor(served)? {
            become_user(out, files, &user)?;
        }
        privilege::gain_nothing()
    }

    /// Closes the sandbox around what the server named and what its arguments name. Before the first thread.
    ///
    /// # Errors
    /// Those of [`Sandbox::close`].
    pub fn enclose(
        &self,
        out: &Output,
        (appended, reloader): (&[&Path], &Reloader),
        mut sandbox: Sandbox,
    ) -> Result<(), Fault> {
        if self.no_sandbox {
            return Ok(());
        }
        appended.iter().for_each(|file| sandbox.add(file));
        reloader.files().for_each(|file| sandbox.read_again(file));
        match sandbox.close()? {
            SandboxState::Closed => out.note("files: Landlock restricts access to the named ones"),
            SandboxState::Missing => {
                out.note("files: no sandbox: this kernel has no Landlock, or one from before Linux 5.19")
            }
        }
        Ok(())
    }
}

/// The owner of the first place that is not root's; a place that is to be made belongs to whom its directory belongs.
fn owner(places: &[PathBuf]) -> Option<UnixIdentity> {
    let there =
        |path: &PathBuf| std::path::absolute(path).ok()?.ancestors().find(|path| path.exists()).map(Path::to_owned);
    let owners = places.iter().filter_map(there).filter_map(|path| UnixIdentity::owner_of(&path).ok());
    owners.into_iter().find(|user| !user.is_root())
}

fn become_user(out: &Output, (appended, reloader): (&[&Path], &Reloader), user: &UnixIdentity) -> Result<(), Fault> {
    if user.is_current() {
        return Ok(());
    }
    for file in appended {
        give(file, user).map_err(|error| Fault::local(file.display(), &error))?;
    }
    privilege::become_user(user)?;
    out.note(&format!("serving as {user}"));
    let out_of_reach = |file: &&Path, access| rustix::fs::access(*file, access).is_err();
    for file in appended.iter().copied().filter(|file| out_of_reach(file, Access::WRITE_OK)) {
        out.warn(&format!("{}: {user} cannot open it again after a rotation", file.display()));
        out.hint("chown it once, and logrotate's \"create 0640 USER\" makes the next ones so");
    }
    for file in reloader.files().filter(|file| out_of_reach(file, Access::READ_OK)) {
        out.warn(&format!("{}: {user} cannot read it again: a reload will fail", file.display()));
    }
    Ok(())
}

/// Gives who serves a file of root's that he opens again after a rotation, so that logrotate's `create` makes the next one like
/// this one. Never one that another user can have put there, by a link or by its name: what has content lies where only root
/// writes.
fn give(path: &Path, user: &UnixIdentity) -> std::io::Result<()> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = File::options().append(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    let ours = found.is_file() && found.uid() == 0 && found.nlink() == 1;
    if ours && (found.len() == 0 || only_root_writes_beside(path)) { user.own(&file) } else { Ok(()) }
}

/// In the directory of `path` nobody but root makes, moves or removes a name, and nobody puts another directory in its place.
pub fn only_root_writes_beside(path: &Path) -> bool {
    let folder = std::path::absolute(path).ok().and_then(|path| path.parent()?.canonicalize().ok());
    let is_roots = |folder: &Path, sticky: bool| {
        folder
            .metadata()
            .is_ok_and(|found| found.uid() == 0 && (found.mode() & 0o022 == 0 || sticky && found.mode() & 0o1000 != 0))
    };
    // Above it a sticky directory will do: root's directories stay where they are there, too.
    folder.is_some_and(|it| is_roots(&it, false) && it.ancestors().skip(1).all(|above| is_roots(above, true)))
}

/// The files that records and lines are appended to, which who serves opens again.
pub fn appended_files<'a>(args: &'a OutputArgs, log: &'a LogArgs) -> Vec<&'a Path> {
    let is_path = |name: &&std::ffi::OsStr| {
        ![&b"fd:"[..], b"/dev/"].iter().any(|start| name.as_encoded_bytes().starts_with(start))
    };
    args.report.as_deref().filter(is_path).map(Path::new).into_iter().chain(log.log.as_deref()).collect()
}
