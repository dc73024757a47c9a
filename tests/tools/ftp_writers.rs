//! ftpserve and three clients that upload to the same names in any order, break off, rename and delete, beside a model of the
//! directory: after each step a fourth client sees what the model holds.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;

use crate::ftp_server::Client;
use crate::harness::{Server, memory_dir, rounds, server};
use crate::random::{Random, first_seed};

const NAMES: [&str; 2] = ["a", "b"];
const MAX_FILE: usize = 40_000;

/// An upload that runs.
struct Writer {
    data: TcpStream,
    name: usize,
    number: u64,
    replace: bool,
    /// The file that is written in place, and the offset of the first byte.
    file: Option<(usize, usize)>,
    sent: Vec<u8>,
}

#[derive(Default)]
struct Slot {
    client: Option<Client>,
    /// The last byte of the client's address.
    address: u8,
    /// The bytes that it has stored.
    stored: usize,
    writer: Option<Writer>,
}

struct Model {
    server: Server,
    keep: bool,
    observer: Client,
    /// The number of clients so far: each has an address of its own.
    clients: u8,
    slots: [Slot; 3],
    names: BTreeMap<usize, usize>,
    /// The contents of all files that ever were.
    files: Vec<Vec<u8>>,
    number: u64,
    complete: [u64; 2],
}

impl Model {
    fn client(&mut self, slot: usize) -> &mut Client {
        if self.slots[slot].client.is_none() {
            self.clients += 1;
            let client = Client::login_from([127, 0, 77, self.clients], self.server.addr);
            self.slots[slot].client = Some(client);
            (self.slots[slot].address, self.slots[slot].stored) = (self.clients, 0);
        }
        self.slots[slot].client.as_mut().unwrap()
    }

    fn start(&mut self, slot: usize, name: usize, random: &mut Random) {
        let there = self.names.get(&name).copied();
        let size = there.map_or(0, |file| self.files[file].len());
        let offset = match random.below(4) {
            0 | 1 => None,
            2 => Some(size),
            _ => Some(random.below(30_000) as usize + 1),
        };
        let append = offset == Some(size);
        let in_place = there.filter(|_| offset.is_some());
        let busy = |slot: &Slot| slot.writer.as_ref().is_some_and(|other| other.file.map(|it| it.0) == in_place);
        let expected = match offset {
            Some(_) if there.is_none() && !append => 550,
            Some(_) if in_place.is_some() && self.slots.iter().any(busy) => 450,
            Some(offset) if offset > size => 554,
            _ => 150,
        };
        let client = self.client(slot);
        let data = client.data();
        if let Some(offset) = offset.filter(|_| !append) {
            client.ask(&format!("REST {offset}"), 350);
        }
        let verb = if append { "APPE" } else { "STOR" };
        client.ask(&format!("{verb} {}", NAMES[name]), expected);
        if expected == 150 {
            self.number += 1;
            let file = in_place.zip(offset);
            let writer = Writer { data, name, number: self.number, replace: !append, file, sent: Vec::new() };
            self.slots[slot].writer = Some(writer);
        }
    }

    fn write(&mut self, slot: usize, random: &mut Random) {
        let Some(writer) = &mut self.slots[slot].writer else { return };
        let bytes = vec![b'a' + random.below(26) as u8; random.below(12_000) as usize];
        writer.sent.extend_from_slice(&bytes);
        let over = writer.file.map_or(0, |it| it.1) + writer.sent.len() > MAX_FILE;
        let written = writer.data.write_all(&bytes);
        if over {
            // Nothing stays of what was too much.
            self.slots[slot].writer = None;
            self.client(slot).expect(552);
        } else {
            written.unwrap();
        }
    }

    fn finish(&mut self, slot: usize) {
        let Some(Writer { data, name, number, replace, file, sent }) = self.slots[slot].writer.take() else { return };
        drop(data);
        let there = self.names.get(&name).copied();
        let code = match file {
            _ if self.complete[name] > number => 553,
            Some((file, _)) if there != Some(file) => 450,
            None if there.is_some() && !replace => 550,
            _ => 226,
        };
        self.client(slot).expect(code);
        self.slots[slot].stored += if code == 226 { sent.len() } else { 0 };
        match file {
            _ if code != 226 => {}
            Some((file, from)) => {
                self.files[file].truncate(from);
                self.files[file].extend_from_slice(&sent);
                self.complete[name] = number;
            }
            None => self.place(name, number, sent),
        }
    }

    fn place(&mut self, name: usize, number: u64, bytes: Vec<u8>) {
        self.names.insert(name, self.files.len());
        self.files.push(bytes);
        self.complete[name] = number;
    }

    /// ABOR, or the client goes.
    fn break_off(&mut self, slot: usize, goes: bool) {
        let Some(writer) = self.slots[slot].writer.take() else { return };
        if goes {
            self.slots[slot].client = None;
            drop(writer.data);
            let Slot { address, stored, .. } = &self.slots[slot];
            let record = format!("session\tleft\t{stored}\t0\tanonymous\t127.0.77.{address}\n");
            self.server.stdout.wait_for(&record);
        } else {
            self.client(slot).send("ABOR\r\n");
            self.client(slot).expect(426);
            self.client(slot).expect(226);
        }
        let Writer { name, number, file, sent, .. } = writer;
        // What had arrived by then: nobody but the server knows.
        match file {
            Some((file, from)) => {
                if let Some(name) = self.names.iter().find(|(_, named)| **named == file).map(|(name, _)| *name) {
                    let found = self.observer.get(&format!("RETR {}", NAMES[name])).unwrap();
                    assert!(is_part(&found, &self.files[file], from, &sent), "part of {}", NAMES[name]);
                    self.files[file] = found;
                }
            }
            None if self.keep && !self.names.contains_key(&name) && self.complete[name] < number => {
                let found = self.observer.get(&format!("RETR {}", NAMES[name])).unwrap();
                assert!(sent.starts_with(&found), "part of {}", NAMES[name]);
                self.place(name, number, found);
            }
            None => {}
        }
    }

    fn step(&mut self, random: &mut Random) {
        let (slot, name) = (random.below(3) as usize, random.below(2) as usize);
        let runs = self.slots[slot].writer.is_some();
        match random.below(10) {
            0..4 if !runs => self.start(slot, name, random),
            0..5 => self.write(slot, random),
            5 | 6 => self.finish(slot),
            7 => self.break_off(slot, false),
            8 => self.break_off(slot, true),
            _ if random.below(2) == 0 => {
                let code = if self.names.remove(&name).is_some() { 250 } else { 550 };
                self.observer.ask(&format!("DELE {}", NAMES[name]), code);
            }
            _ => {
                let Some(file) = self.names.remove(&name) else { return };
                self.observer.ask(&format!("RNFR {}", NAMES[name]), 350);
                self.observer.ask(&format!("RNTO {}", NAMES[1 - name]), 250);
                self.number += 1;
                self.names.insert(1 - name, file);
                self.complete[1 - name] = self.number;
            }
        }
    }

    fn check(&mut self) {
        let listing = String::from_utf8(self.observer.get("NLST").unwrap()).unwrap();
        let listed: Vec<_> = listing.lines().collect();
        let expected: Vec<_> = self.names.keys().map(|name| NAMES[*name]).collect();
        assert_eq!(listed, expected);
        for (name, file) in &self.names {
            let found = self.observer.get(&format!("RETR {}", NAMES[*name])).unwrap();
            let writer = self.slots.iter().filter_map(|slot| slot.writer.as_ref());
            let writer = writer.filter_map(|writer| Some((writer, writer.file.filter(|it| it.0 == *file)?.1))).next();
            let right = match writer {
                Some((writer, from)) => is_part(&found, &self.files[*file], from, &writer.sent),
                None => found == self.files[*file],
            };
            assert!(right, "{}: {} bytes", NAMES[*name], found.len());
        }
    }
}

/// True if `found` is the file with some of the bytes written at the offset.
fn is_part(found: &[u8], before: &[u8], from: usize, sent: &[u8]) -> bool {
    let same = found.iter().skip(from).zip(sent).take_while(|(found, sent)| found == sent).count();
    let end = from + same;
    found.get(..from) == before.get(..from) && found.get(end..) == Some(before.get(end..).unwrap_or_default())
}

#[test]
fn writers_of_one_name_follow_the_order_of_their_starts() {
    for round in rounds(8, 40) {
        let seed = first_seed() + round as u64;
        let (dir, keep) = (memory_dir(), round % 2 == 1);
        let mut run = server("ftpserve").args(["--write", "--append", "--max-file-size"]).arg(MAX_FILE.to_string());
        if keep {
            run = run.arg("--keep-partial");
        }
        let server = run.arg(dir.path()).start();
        let observer = Client::anonymous(&server);
        let mut model = Model {
            server,
            keep,
            observer,
            clients: 0,
            slots: Default::default(),
            names: BTreeMap::new(),
            files: Vec::new(),
            number: 0,
            complete: [0; 2],
        };
        let mut random = Random(seed);
        eprintln!("seed {seed}");
        for _ in 0..60 {
            model.step(&mut random);
            model.check();
        }
        for slot in 0..3 {
            model.break_off(slot, false);
            model.check();
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), model.names.len(), "nothing is left over");
    }
}

/// ABOR, and an end of the control connection, after every byte: nothing is stored, or with --keep-partial what had come, under
/// a name that was free.
#[test]
fn an_upload_that_breaks_off_after_any_byte() {
    let whole = b"forty bytes, of which some number arrives";
    for keep in [false, true] {
        let dir = memory_dir();
        let run = server("ftpserve").arg("--write").args(keep.then_some("--keep-partial")).arg(dir.path());
        let server = run.start();
        std::fs::write(dir.path().join("old"), "old").unwrap();
        let mut client = Client::anonymous(&server);
        let mut parts = 0;
        for sent in 0..=whole.len() {
            for name in ["old", "new"] {
                let mut data = client.data();
                client.ask(&format!("STOR {name}"), 150);
                data.write_all(&whole[..sent]).unwrap();
                client.send("ABOR\r\n");
                client.expect(426);
                client.expect(226);
            }
            let mut going = Client::login_from([127, 0, 78, sent as u8 + 1], server.addr);
            let mut data = going.data();
            going.ask("STOR gone", 150);
            data.write_all(&whole[..sent]).unwrap();
            drop((going, data));
            server.stdout.wait_for(&format!("session\tleft\t0\t0\tanonymous\t127.0.78.{}\n", sent + 1));
            assert_eq!(std::fs::read(dir.path().join("old")).unwrap(), b"old");
            for name in ["new", "gone"] {
                let part = std::fs::read(dir.path().join(name)).ok();
                // Without --keep-partial none; with it none either where the server had not taken the connection yet.
                if let Some(part) = part {
                    parts += 1;
                    assert!(whole[..sent].starts_with(&part), "{name} after {sent} bytes");
                    std::fs::remove_file(dir.path().join(name)).unwrap();
                }
            }
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "after {sent} bytes");
        }
        assert_eq!(parts > 0, keep, "{parts} parts");
    }
}
