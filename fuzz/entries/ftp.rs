//! Entry points of `ftp` that read a stranger's bytes: one line each, `(name, function)`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use applayer::ftp::command::Command;
use applayer::ftp::session::{Action, Event, Policy, Refusal, Rights, Session};

/// Every entry: used by the fuzz targets and by the replay of the committed corpus.
pub const ENTRIES: &[(&str, fn(&[u8]))] = &[("ftp_command", ftp_command), ("ftp_session", ftp_session)];

/// What parses can be sent, and parses to the same again.
fn ftp_command(data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(command) = Command::parse(line) {
            let wire = command.encode().expect("what was parsed can be sent");
            let line = wire.strip_suffix(b"\r\n").expect("a whole line");
            assert!(!line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "one command stays one");
            assert_eq!(Command::parse(line), Ok(command));
        }
    }
}

/// However the bytes arrive, the server's session says the same, and never connects to anybody but its client.
fn ftp_session(data: &[u8]) {
    let whole = talk(data, data.len().max(1));
    assert_eq!(whole, talk(data, 1));
}

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));

fn talk(data: &[u8], piece: usize) -> Vec<u8> {
    let mut session = Session::new(Policy {
        greeting: "ready".to_owned(),
        tls: true,
        tls_required: false,
        clear_passwords: true,
        tls_implicit: false,
        peer: CLIENT,
        pasv_address: None,
        active: true,
    });
    let mut said = Vec::new();
    for piece in data.chunks(piece) {
        session.input(piece);
        while let Some(action) = session.poll() {
            answer(&mut session, action, &mut said);
        }
    }
    said
}

fn answer(session: &mut Session, action: Action, said: &mut Vec<u8>) {
    match action {
        Action::Reply(reply) => {
            let bytes = reply.to_bytes();
            assert!(bytes.ends_with(b"\r\n"), "a whole line");
            said.extend_from_slice(&bytes);
        }
        Action::Login { .. } => session.event(Event::Login(Some(Rights::ALL))),
        Action::Listen => session.event(Event::Listening(Some(SocketAddr::new(CLIENT, 50_000)))),
        Action::Store(_) => session.event(Event::Stored(Err(Refusal::NotFound))),
        Action::Transfer(transfer) => {
            if let applayer::ftp::session::Via::Active(target) = transfer.via {
                assert!(target.ip() == CLIENT && target.port() >= 1024, "a bounce");
            }
            session.event(Event::Opened { size: None, name: None });
            session.event(Event::Ended(Ok(1)));
        }
        // TLS never begins here: what was sent ahead is dropped, so how it is cut would matter.
        Action::StartTls | Action::DropListener | Action::StopTransfer | Action::Close => {}
    }
}
