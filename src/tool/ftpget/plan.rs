//! The interpretation of ftpget's command line: every URL and every target, before the first transfer.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::Args;
use crate::cli::input;
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::ftp::glob::Glob;
use crate::ftp::mirror::FetchRoot;
use crate::ftp::path::{FtpUrl, RemotePath, check_name, local_name};
use crate::tool::ftp_args::url_text;

/// The longest list that `-i` reads, in bytes.
const MAX_LIST: u64 = 1 << 30;

/// The plan of a run.
pub(super) enum FetchPlan {
    /// Writes to stdout (`None`), a device or a FIFO, one file after the other.
    Direct(Vec<(FtpUrl, Option<FetchRoot>)>, Option<PathBuf>),
    /// Writes to files, grouped by server.
    Files(Vec<FetchGroup>),
}

/// The transfers from one server.
pub(super) struct FetchGroup {
    pub(super) url: FtpUrl,
    /// The name of the group in messages.
    pub(super) label: String,
    /// The position of each root on the command line.
    pub(super) orders: Vec<usize>,
    pub(super) roots: Vec<FetchRoot>,
}

/// One URL of the command line or the list.
struct Wish {
    url: FtpUrl,
    glob: Option<Glob>,
    /// For a path below `--base`: the directories and the name, which are the same locally.
    below: Option<Vec<Vec<u8>>>,
}

/// Determines the target of every URL.
pub(super) fn plan(args: &Args, out: &Output) -> Result<FetchPlan, Fault> {
    let mut wishes =
        args.urls.iter().map(|text| wish(args, &url_text(text.as_bytes()))).collect::<Result<Vec<Wish>, Fault>>()?;
    if let Some(input) = &args.input {
        read_list(args, out, input, &mut wishes)?;
    }
    let one = args.range.is_some() || args.sha256.is_some();
    if one && (wishes.len() != 1 || wishes.iter().any(|wish| wish.glob.is_some())) {
        return Err(Fault::new(Kind::Usage, "--range and --sha256 take one file: one URL without a glob"));
    }
    let stdout = args.target.as_deref() == Some(Path::new("-"));
    let device = args.target.as_ref().filter(|_| !stdout && wishes.len() == 1 && !args.recursive);
    let device = device.filter(|path| std::fs::metadata(path).is_ok_and(|meta| is_device(&meta))).cloned();
    if stdout || device.is_some() {
        let direct = wishes.into_iter().map(|wish| match wish.glob {
            Some(glob) => (wish.url.clone(), Some(glob_root(args, &wish.url, glob, PathBuf::new()))),
            None => (wish.url, None),
        });
        return Ok(FetchPlan::Direct(direct.collect(), device));
    }
    let several = wishes.len() > 1 || args.input.is_some();
    let mut groups: Vec<FetchGroup> = Vec::new();
    let mut targets = Targets { taken: HashSet::new() };
    for (order, wish) in wishes.into_iter().enumerate() {
        let label = wish.url.to_string();
        let (url, root) = (wish.url.clone(), targets.root(args, wish, several)?);
        match groups.iter_mut().find(|group| group.url.same_server(&url)) {
            Some(group) => {
                group.orders.push(order);
                group.roots.push(root);
                group.label.clone_from(&group.url.with_path(RemotePath::default(), true).to_string());
            }
            None => groups.push(FetchGroup { url, label, orders: vec![order], roots: vec![root] }),
        }
    }
    Ok(FetchPlan::Files(groups))
}

fn is_device(meta: &std::fs::Metadata) -> bool {
    let kind = meta.file_type();
    kind.is_char_device() || kind.is_block_device() || kind.is_fifo()
}

fn wish(args: &Args, text: &str) -> Result<Wish, Fault> {
    let (mut url, glob) = match args.no_glob {
        true => (FtpUrl::parse(text)?, None),
        false => FtpUrl::parse_glob(text)?,
    };
    url.ascii |= args.ascii;
    if glob.is_none() && !args.recursive && (url.directory || url.path.name().is_none()) {
        let fault = Fault::new(Kind::Usage, format!("{url}: names a directory"));
        return Err(fault.with_hint("-r fetches a tree, ftpls lists it"));
    }
    Ok(Wish { url, glob, below: None })
}

/// Reads `-i`: one URL per line, or one path below `--base` per line. Empty lines are ignored.
fn read_list(args: &Args, out: &Output, input: &Path, wishes: &mut Vec<Wish>) -> Result<(), Fault> {
    let stdin = input == Path::new("-");
    if stdin && args.client.login.reads_stdin() {
        return Err(Fault::new(Kind::Usage, "stdin can be read only once"));
    }
    let fault =
        |error: std::io::Error| Fault::local(if stdin { "stdin".into() } else { input.display().to_string() }, &error);
    let mut bytes = Vec::new();
    match stdin {
        true => input::stdin()?.take(MAX_LIST).read_to_end(&mut bytes),
        false => std::fs::File::open(input).and_then(|file| file.take(MAX_LIST).read_to_end(&mut bytes)),
    }
    .map_err(fault)?;
    let base = args.base.as_ref().map(|base| FtpUrl::parse(&url_text(base.as_bytes()))).transpose()?;
    let end = out.record_end();
    for line in bytes.split(|byte| *byte == end) {
        let line = if end == b'\n' { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        if line.is_empty() {
            continue;
        }
        match &base {
            Some(base) => wishes.push(below(args, base, line)?),
            None => wishes.push(wish(args, url_text(line).trim())?),
        }
    }
    Ok(())
}

/// A path below the base, without any interpretation.
fn below(args: &Args, base: &FtpUrl, line: &[u8]) -> Result<Wish, Fault> {
    let shown = String::from_utf8_lossy(line);
    let names: Vec<Vec<u8>> = line.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
    let mut path = base.path.clone();
    for name in &names {
        check_name(name).map_err(|bad| Fault::new(Kind::Usage, format!("{shown}: {}", bad.as_str())))?;
        path = path.join(name);
    }
    let mut url = base.with_path(path, false);
    url.ascii |= args.ascii;
    Ok(Wish { url, glob: None, below: Some(names) })
}

fn glob_root(args: &Args, url: &FtpUrl, glob: Glob, local: PathBuf) -> FetchRoot {
    FetchRoot::Glob { path: url.path.clone(), glob, ascii: url.ascii, recursive: args.recursive, local }
}

/// Local names that are already taken.
struct Targets {
    taken: HashSet<PathBuf>,
}

impl Targets {
    fn root(&mut self, args: &Args, wish: Wish, several: bool) -> Result<FetchRoot, Fault> {
        let url = wish.url;
        if let Some(glob) = wish.glob {
            let local = args.target.clone().unwrap_or_else(|| PathBuf::from("."));
            return Ok(glob_root(args, &url, glob, local));
        }
        let name = url.path.name();
        if let Some(name) = name {
            check_name(name).map_err(|bad| Fault::new(Kind::Usage, format!("{url}: {}", bad.as_str())))?;
        }
        let own_name = || PathBuf::from(OsStr::from_bytes(&local_name(name.unwrap_or(b"."))));
        if args.recursive {
            let local = match (&args.target, url.directory) {
                (Some(target), true) => target.clone(),
                (Some(target), false) => target.join(own_name()),
                (None, _) => own_name(),
            };
            return Ok(FetchRoot::Tree { path: url.path, ascii: url.ascii, local });
        }
        let inside = wish.below.unwrap_or_else(|| vec![name.unwrap_or_default().to_vec()]);
        let mut inside: Vec<Vec<u8>> = inside.iter().map(|name| local_name(name).into_owned()).collect();
        let own = inside.pop().unwrap_or_default();
        let (dir, name) = file(args, own, several)?;
        let mut path = dir.clone();
        path.extend(inside.iter().map(|part| OsStr::from_bytes(part)));
        path.push(OsStr::from_bytes(&name));
        if several && !self.taken.insert(path.clone()) {
            let detail = format!("{url}: {} would be written twice", path.display());
            return Err(Fault::new(Kind::Usage, detail));
        }
        let compare = args.select.compare_named();
        Ok(FetchRoot::File { path: url.path, ascii: url.ascii, dir, inside, name, compare })
    }
}

/// The directory and the name for a file whose own name is `own`.
fn file(args: &Args, own: Vec<u8>, several: bool) -> Result<(PathBuf, Vec<u8>), Fault> {
    let Some(target) = &args.target else { return Ok((PathBuf::from("."), own)) };
    if several || target.as_os_str().as_bytes().ends_with(b"/") {
        return Ok((target.clone(), own));
    }
    match std::fs::metadata(target) {
        Ok(meta) if meta.is_dir() => return Ok((target.clone(), own)),
        Ok(meta) if !meta.is_file() => {
            return Err(Fault::new(Kind::CannotCreate, format!("{}: not a file", target.display())));
        }
        _ => {}
    }
    // A symbolic link is kept; its target is replaced.
    let real = match std::fs::read_link(target) {
        Ok(_) => std::fs::canonicalize(target).map_err(|error| Fault::local(target.display(), &error))?,
        Err(_) => target.clone(),
    };
    let name =
        real.file_name().ok_or_else(|| Fault::new(Kind::Usage, format!("{}: not a file name", target.display())))?;
    let parent = real.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match std::fs::metadata(parent) {
        Ok(meta) if meta.is_dir() => Ok((parent.to_owned(), name.to_owned().into_vec())),
        Ok(_) => Err(Fault::new(Kind::CannotCreate, format!("{}: not a directory", parent.display()))),
        Err(error) => Err(Fault { kind: Kind::CannotCreate, ..Fault::local(parent.display(), &error) }),
    }
}
