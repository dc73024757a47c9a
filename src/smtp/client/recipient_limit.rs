//! The client against servers that accept fewer recipients per transaction than the message has.

use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::tests::{DEFERRED, DELIVERED, REFUSED, envelope, options, outcomes};
use super::*;
use crate::smtp::data::MessageBlob;

/// A server that accepts `most` recipients per transaction, replies `more` to the rest and refuses `refused@…`. Returns the accepted ones.
fn taking(most: usize, more: &'static str) -> (Stream, JoinHandle<Vec<Vec<String>>>) {
    use tokio::io::AsyncBufReadExt;
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = tokio::spawn(async move {
        let mut stream = tokio::io::BufReader::new(theirs);
        let (mut taken, mut now, mut data) = (Vec::new(), Vec::new(), false);
        let mut reply = "220 mx".to_owned();
        loop {
            if stream.write_all(format!("{reply}\r\n").as_bytes()).await.is_err() {
                return taken;
            }
            let mut line = String::new();
            while data && line != ".\r\n" {
                line.clear();
                stream.read_line(&mut line).await.unwrap();
            }
            if data {
                (data, reply) = (false, "250 taken".to_owned());
                taken.push(std::mem::take(&mut now));
                continue;
            }
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return taken;
            }
            let path = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            reply = match line.split(' ').next().unwrap_or_default().trim_end() {
                "EHLO" => "250-mx\r\n250 PIPELINING".to_owned(),
                "RCPT" if path.starts_with("refused@") => "550 5.1.1 no".to_owned(),
                "RCPT" if now.len() >= most => more.to_owned(),
                "RCPT" => {
                    now.push(path);
                    "250 ok".to_owned()
                }
                "DATA" if now.is_empty() => "503 nobody".to_owned(),
                "DATA" => {
                    data = true;
                    "354 go".to_owned()
                }
                "MAIL" | "RSET" => {
                    now.clear();
                    "250 ok".to_owned()
                }
                _ => "250 ok".to_owned(),
            };
        }
    });
    (Stream::Unix(ours), server)
}

#[tokio::test]
async fn who_is_too_many_comes_in_further_transactions() {
    let content = MessageBlob::from(b"x\r\n".to_vec());
    for more in [
        "452 4.5.3 too many",
        "452 too many",
        "552 too many",
        "552 5.5.3 too many",
        "450 4.5.3 enough",
        "550 5.5.3 enough",
    ] {
        for (partial, pipelining) in [(true, true), (true, false), (false, true), (false, false)] {
            let (stream, server) = taking(3, more);
            let mut client = SmtpClient::open(stream, "x", &options()).await.unwrap();
            client.offer.pipelining &= pipelining;
            let to: Vec<String> = (0..10).map(|n| format!("r{n}@x")).collect();
            let to: Vec<&str> = to.iter().map(String::as_str).collect();
            let send = SendOptions { partial, ..SendOptions::default() };
            let results = client.send(&envelope(&to), &content, &send).await;
            assert_eq!(outcomes(&results), [DELIVERED; 10], "{more} {partial} {pipelining} {results:?}");
            let addresses: Vec<&str> = results.iter().map(|result| result.address.as_str()).collect();
            assert_eq!(addresses, to, "in the envelope's order");
            client.quit().await;
            let taken = server.await.unwrap();
            assert_eq!(taken.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1]);
            assert_eq!(taken.concat(), to, "each of them once");
        }
    }
}

#[tokio::test]
async fn a_limit_on_recipients_is_told_from_a_refusal() {
    let content = MessageBlob::from(b"x\r\n".to_vec());
    let run = async |most, more, to: &[&str], partial| {
        let (stream, server) = taking(most, more);
        let mut client = SmtpClient::open(stream, "x", &options()).await.unwrap();
        let send = SendOptions { partial, ..SendOptions::default() };
        let results = client.send(&envelope(to), &content, &send).await;
        client.quit().await;
        (outcomes(&results), server.await.unwrap().len())
    };
    let many = ["a@x", "b@x", "c@x", "d@x"];
    // A full mailbox, a full disk and whatever else a server says of one recipient.
    for more in ["552 5.2.2 full", "550 5.1.1 no", "552 5.3.4 too big"] {
        assert_eq!(run(3, more, &many, true).await, (vec![DELIVERED, DELIVERED, DELIVERED, REFUSED], 1), "{more}");
        assert_eq!(run(3, more, &many, false).await.1, 0, "all or nothing: {more}");
    }
    for more in ["452 4.2.2 full", "452 4.3.1 disk", "450 4.7.1 greylisted", "451 later"] {
        assert_eq!(run(3, more, &many, true).await, (vec![DELIVERED, DELIVERED, DELIVERED, DEFERRED], 1), "{more}");
        assert_eq!(run(3, more, &many, false).await.1, 0, "all or nothing: {more}");
    }
    // Nobody before it: 552 is what it says.
    assert_eq!(run(0, "552 too many", &["a@x", "b@x"], true).await, (vec![REFUSED; 2], 0));
    assert_eq!(run(0, "452 4.5.3 too many", &["a@x", "b@x"], true).await, (vec![DEFERRED; 2], 0));
    // Refusals beside it: without `partial` nothing is sent as long as nothing has been.
    let mixed = ["a@x", "refused@x", "b@x", "c@x", "d@x", "e@x"];
    let expected = [DELIVERED, REFUSED, DELIVERED, DELIVERED, DELIVERED, DELIVERED];
    assert_eq!(run(2, "452 4.5.3 too many", &mixed, true).await, (expected.to_vec(), 3));
    let (found, transactions) = run(3, "452 4.5.3 too many", &mixed, false).await;
    assert_eq!((found.iter().filter(|it| **it == DEFERRED).count(), transactions), (5, 0), "{found:?}");
    // A known limit, and then only refusals at the front.
    let front = ["a@x", "b@x", "refused@x", "refused@y", "c@x"];
    let expected = [DELIVERED, DELIVERED, REFUSED, REFUSED, DELIVERED];
    assert_eq!(run(1, "452 4.5.3 too many", &front, true).await, (expected.to_vec(), 3));
}

#[tokio::test]
async fn a_limit_once_known_is_kept_and_the_next_message_does_not_hinder() {
    let content = MessageBlob::from(b"x\r\n".to_vec());
    let (stream, server) = taking(2, "452 4.5.3 too many");
    let mut client = SmtpClient::open(stream, "x", &options()).await.unwrap();
    let (three, two) = (envelope(&["a@x", "b@x", "c@x"]), envelope(&["d@x", "e@x"]));
    let send = SendOptions { partial: true, ..SendOptions::default() };
    assert_eq!(outcomes(&client.send(&three, &content, &send).await), [DELIVERED; 3]);
    let next = SendOptions { next: Some((&two, &content)), ..send.clone() };
    assert_eq!(outcomes(&client.send(&three, &content, &next).await), [DELIVERED; 3]);
    assert!(client.ahead.is_none(), "more than it takes at a time: nothing goes out behind it");
    let next = SendOptions { next: Some((&three, &content)), ..send.clone() };
    assert_eq!(outcomes(&client.send(&two, &content, &next).await), [DELIVERED; 2]);
    assert_eq!(outcomes(&client.send(&three, &content, &send).await), [DELIVERED; 3]);
    client.quit().await;
    assert_eq!(server.await.unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 2, 1, 2, 2, 1]);
}
