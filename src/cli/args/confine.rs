//! Whose rights a server has, and which files it reaches.

use std::path::{Path, PathBuf};

use crate::cli::args::{ListenArgs, LogArgs, OutputArgs, ServeArgs};
use crate::cli::output::Output;
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
    /// Root becomes the user that `--run-as` names, else the owner of the first of these places that is not root's. Nobody
    /// gains rights from here on. Before the first thread.
    ///
    /// # Errors
    /// [`Kind::Usage`] if there is nobody to become, it is root without `--i-know`, or one who is not root is to become
    /// somebody else; those of [`UnixIdentity::parse`] and [`privilege::become_user`].
    pub fn give_up_root(&self, out: &Output, appended: &[&Path], served: &[PathBuf]) -> Result<(), Fault> {
        let named = self.run_as.as_deref().map(UnixIdentity::parse).transpose();
        let named = named.map_err(|fault| fault.context("--run-as"))?;
        let usage = |why: String| Err(Fault::new(Kind::Usage, why));
        match (named, privilege::is_root()) {
            (None, false) => {}
            (Some(user), false) if user.is_current() => {}
            (Some(user), false) => return usage(format!("--run-as {user}: only root can become another user")),
            (Some(user), true) if user.is_root() && !self.i_know => {
                return usage("--run-as root: who breaks in has the whole machine; --i-know takes that".to_owned());
            }
            (Some(user), true) => become_user(out, appended, &user)?,
            (None, true) => match owner(served) {
                Some(user) => become_user(out, appended, &user)?,
                None => {
                    let why = served
                        .first()
                        .map_or("no user to serve as".to_owned(), |path| format!("{} belongs to root", path.display()));
                    let fault = Fault::new(Kind::Usage, format!("started as root, and {why}"));
                    return Err(fault.with_hint("--run-as USER names the user that serves"));
                }
            },
        }
        privilege::gain_nothing()
    }

    /// Closes the sandbox around what the server named and what its arguments name. Before the first thread.
    ///
    /// # Errors
    /// Those of [`Sandbox::close`].
    pub fn enclose(&self, out: &Output, appended: &[&Path], mut sandbox: Sandbox) -> Result<(), Fault> {
        if self.no_sandbox {
            return Ok(());
        }
        appended.iter().for_each(|file| sandbox.add(file));
        match sandbox.close()? {
            SandboxState::Closed => out.note("files: Landlock restricts access to the named ones"),
            SandboxState::Missing => {
                out.note("files: no sandbox: this kernel has no Landlock, or one from before Linux 5.19")
            }
        }
        Ok(())
    }
}

impl ListenArgs {
    /// Names the files that are written while the server runs.
    pub fn name_files(&self, sandbox: &mut Sandbox) {
        if let Some(file) = &self.address_file {
            sandbox.write(match file.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                _ => PathBuf::from("."),
            });
        }
    }
}

impl ServeArgs {
    /// Names the files that are read again.
    pub fn name_files(&self, sandbox: &mut Sandbox) {
        let files = self.cert.iter().chain(&self.key).chain(&self.client_ca).chain(&self.user_file);
        files.for_each(|file| sandbox.read_again(file));
    }
}

/// The owner of the first place that is not root's; a place that is to be made belongs to whom its directory belongs.
fn owner(places: &[PathBuf]) -> Option<UnixIdentity> {
    let there =
        |path: &PathBuf| std::path::absolute(path).ok()?.ancestors().find(|path| path.exists()).map(Path::to_owned);
    let owners = places.iter().filter_map(there).filter_map(|path| UnixIdentity::owner_of(&path).ok());
    owners.into_iter().find(|user| !user.is_root())
}

fn become_user(out: &Output, appended: &[&Path], user: &UnixIdentity) -> Result<(), Fault> {
    if user.is_current() {
        return Ok(());
    }
    // A file that was just made is opened again by who serves.
    let fresh = |file: &&Path| std::fs::symlink_metadata(file).is_ok_and(|found| found.is_file() && found.len() == 0);
    for file in appended.iter().copied().filter(fresh) {
        user.own(file)?;
    }
    privilege::become_user(user)?;
    out.note(&format!("serving as {user}"));
    Ok(())
}

/// The files that records and lines are appended to, which who serves opens again.
pub fn appended_files<'a>(args: &'a OutputArgs, log: &'a LogArgs) -> Vec<&'a Path> {
    let is_path = |name: &&std::ffi::OsStr| {
        ![&b"fd:"[..], b"/dev/"].iter().any(|start| name.as_encoded_bytes().starts_with(start))
    };
    args.report.as_deref().filter(is_path).map(Path::new).into_iter().chain(log.log.as_deref()).collect()
}
