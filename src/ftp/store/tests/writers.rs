//! Uploads, renames and deletions of three sessions in any order, beside a model of the directory and its quota.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 3] = ["/a", "/b", "/c"];
const LIMIT: u64 = 60;

#[derive(Debug, Clone)]
enum Step {
    Store { slot: usize, name: usize },
    Append { slot: usize, name: usize },
    Resume { slot: usize, name: usize, offset: u64 },
    Write { slot: usize, bytes: Vec<u8> },
    Commit { slot: usize },
    BreakOff { slot: usize, keep: bool },
    Delete { name: usize },
    Rename { from: usize, to: usize, replace: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (slot, name) = (|| 0..3usize, || 0..NAMES.len());
    let bytes = || prop::collection::vec(b'a'..=b'z', 0..25);
    let step = prop_oneof![
        3 => (slot(), name()).prop_map(|(slot, name)| Step::Store { slot, name }),
        2 => (slot(), name()).prop_map(|(slot, name)| Step::Append { slot, name }),
        1 => (slot(), name(), 0..30u64).prop_map(|(slot, name, offset)| Step::Resume { slot, name, offset }),
        4 => (slot(), bytes()).prop_map(|(slot, bytes)| Step::Write { slot, bytes }),
        4 => slot().prop_map(|slot| Step::Commit { slot }),
        1 => (slot(), any::<bool>()).prop_map(|(slot, keep)| Step::BreakOff { slot, keep }),
        1 => name().prop_map(|name| Step::Delete { name }),
        1 => (name(), name(), any::<bool>()).prop_map(|(from, to, replace)| Step::Rename { from, to, replace }),
    ];
    prop::collection::vec(step, 1..40)
}

/// A running upload: the real one, and what it means.
struct Writer {
    upload: StoreUpload,
    name: usize,
    number: u64,
    replace: bool,
    /// The file that is written in place.
    file: Option<usize>,
    bytes: Vec<u8>,
    /// Where the next byte goes, and the size before.
    at: usize,
    before: usize,
}

/// The directory as it should be: names, and the contents of all files that ever were.
#[derive(Default)]
struct Model {
    names: BTreeMap<usize, usize>,
    files: Vec<Vec<u8>>,
    number: u64,
    complete: [u64; 3],
    slots: [Option<Writer>; 3],
}

impl Model {
    fn step(&mut self, tree: &Tree, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Store { slot, name } => self.start(tree, slot, name, UploadMode::Whole),
            Step::Append { slot, name } => self.start(tree, slot, name, UploadMode::Append),
            Step::Resume { slot, name, offset } => self.start(tree, slot, name, UploadMode::At(offset)),
            Step::Write { slot, bytes } => self.write(slot, &bytes),
            Step::Commit { slot } => self.commit(slot),
            Step::BreakOff { slot, keep } => self.break_off(slot, keep),
            Step::Delete { name } => {
                let known = self.names.remove(&name).map(|_| StoreAnswer::Done).ok_or(StoreRefusal::NotFound);
                prop_assert_eq!(tree.run(StoreOp::Delete(NAMES[name].into())), known);
                Ok(())
            }
            Step::Rename { from, to, replace } => self.rename(tree, from, to, replace),
        }
    }

    fn start(&mut self, tree: &Tree, slot: usize, name: usize, mode: UploadMode) -> Result<(), TestCaseError> {
        if self.slots[slot].is_some() {
            return Ok(());
        }
        let started = tree.store.receive(NAMES[name].as_bytes(), mode, true);
        let there = self.names.get(&name).copied();
        let in_place = there.filter(|_| mode != UploadMode::Whole);
        let busy = self.slots.iter().flatten().any(|writer| in_place.is_some() && writer.file == in_place);
        let before = there.map_or(0, |file| self.files[file].len());
        let refused = match mode {
            UploadMode::At(_) if there.is_none() => Some(StoreRefusal::NotFound),
            _ if busy => Some(StoreRefusal::Busy),
            UploadMode::At(offset) if offset as usize > before => Some(StoreRefusal::BadOffset),
            _ => None,
        };
        let upload = match (started, refused) {
            (Ok((upload, None)), None) => upload,
            (started, refused) => {
                prop_assert_eq!(started.err(), refused);
                return Ok(());
            }
        };
        self.number += 1;
        let at = match mode {
            UploadMode::At(offset) => offset as usize,
            _ if in_place.is_some() => before,
            _ => 0,
        };
        let replace = mode != UploadMode::Append;
        let writer =
            Writer { upload, name, number: self.number, replace, file: in_place, bytes: Vec::new(), at, before };
        self.slots[slot] = Some(writer);
        Ok(())
    }

    fn write(&mut self, slot: usize, bytes: &[u8]) -> Result<(), TestCaseError> {
        let Some(writer) = &mut self.slots[slot] else { return Ok(()) };
        let mut file = writer.upload.file();
        file.write_all(bytes).unwrap();
        let fits = writer.upload.wrote(bytes.len() as u64).is_ok();
        let end = writer.at + bytes.len();
        match writer.file {
            Some(file) => {
                let file = &mut self.files[file];
                file.resize(file.len().max(end), 0);
                file[writer.at..end].copy_from_slice(bytes);
                if !fits {
                    file.resize(writer.before, 0);
                }
            }
            None => writer.bytes.extend_from_slice(bytes),
        }
        writer.at = end;
        if !fits {
            self.slots[slot] = None;
        }
        Ok(())
    }

    fn commit(&mut self, slot: usize) -> Result<(), TestCaseError> {
        let Some(Writer { upload, name, number, replace, file, bytes, at, before }) = self.slots[slot].take() else {
            return Ok(());
        };
        let result = upload.commit();
        let there = self.names.get(&name).copied();
        let expected = match file {
            Some(_) if self.complete[name] > number => Err(StoreRefusal::Overtaken),
            Some(file) if there != Some(file) => Err(StoreRefusal::Moved),
            Some(_) => Ok(()),
            None if self.complete[name] > number => Err(StoreRefusal::Overtaken),
            None if there.is_some() && !replace => Err(StoreRefusal::Exists),
            // What was to be replaced may have got another name: then both would have to fit.
            None if result == Err(StoreRefusal::TooLarge) => {
                prop_assert!(self.used() + bytes.len() as u64 > LIMIT || self.slots.iter().any(Option::is_some));
                return Ok(());
            }
            None => Ok(()),
        };
        prop_assert_eq!(&result, &expected);
        match (result, file) {
            (Ok(()), Some(file)) => {
                self.files[file].truncate(at);
                self.complete[name] = number;
            }
            (Err(_), Some(file)) => self.files[file].resize(before, 0),
            (Ok(()), None) => self.place(name, number, bytes),
            (Err(_), None) => {}
        }
        Ok(())
    }

    fn place(&mut self, name: usize, number: u64, bytes: Vec<u8>) {
        self.names.insert(name, self.files.len());
        self.files.push(bytes);
        self.complete[name] = number;
    }

    fn break_off(&mut self, slot: usize, keep: bool) -> Result<(), TestCaseError> {
        let Some(writer) = self.slots[slot].take() else { return Ok(()) };
        let Writer { upload, name, number, file, bytes, .. } = writer;
        upload.broke_off(keep);
        if file.is_none() && keep && !self.names.contains_key(&name) && self.complete[name] < number {
            self.place(name, number, bytes);
        }
        Ok(())
    }

    fn rename(&mut self, tree: &Tree, from: usize, to: usize, replace: bool) -> Result<(), TestCaseError> {
        let result = tree.run(StoreOp::Rename(NAMES[from].into(), NAMES[to].into(), replace));
        self.number += 1;
        let expected = match (self.names.get(&from), self.names.get(&to)) {
            (None, _) => Err(StoreRefusal::NotFound),
            (_, Some(_)) if !replace => Err(StoreRefusal::Exists),
            (Some(file), _) => {
                let file = *file;
                self.names.remove(&from);
                self.names.insert(to, file);
                self.complete[to] = self.number;
                Ok(StoreAnswer::Done)
            }
        };
        prop_assert_eq!(result, expected);
        Ok(())
    }

    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[*file].len() as u64).sum()
    }

    /// The directory holds what the model holds, and nothing else.
    fn check(&self, tree: &Tree) -> Result<(), TestCaseError> {
        let mut there = BTreeMap::new();
        for entry in std::fs::read_dir(tree.top("")).unwrap().map(Result::unwrap) {
            let name = format!("/{}", entry.file_name().to_string_lossy());
            if let Some(name) = NAMES.iter().position(|known| *known == name) {
                there.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
        let expected: BTreeMap<_, _> =
            self.names.iter().map(|(name, file)| (*name, self.files[*file].clone())).collect();
        prop_assert_eq!(there, expected);
        Ok(())
    }
}

proptest! {
    #[test]
    fn any_order_of_writers_is_that_of_their_starts(steps in steps(), unnamed in any::<bool>()) {
        let mut tree = Tree::bare();
        tree.store.unnamed_files = unnamed;
        tree.store.limits.append = true;
        let quota = TreeQuota::count(&FtpTree::Local(tree.store.clone()), LIMIT).unwrap();
        tree.store = tree.store.clone().with_share(Arc::new(StoreShare::new(Some(quota), None, None)));
        let mut model = Model::default();
        for step in steps {
            model.step(&tree, step)?;
            model.check(&tree)?;
        }
        model.slots = Default::default();
        let quota = tree.store.share.quota.as_ref().unwrap();
        prop_assert_eq!(quota.used(), model.used(), "the account");
        prop_assert!(model.used() <= LIMIT);
        prop_assert_eq!(std::fs::read_dir(tree.top("")).unwrap().count(), model.names.len(), "nothing is left over");
    }
}
