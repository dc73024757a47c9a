//! The effects of TLS: input from before the handshake does not count, and data connections prove that they belong to the client.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_before_tls_is_forgotten() {
    let site = Site::start(with_tls);
    let mut client = site.connect().await;
    // An attacker appends to the client's AUTH (CVE-2011-1575).
    client.send("AUTH TLS\r\nUSER joe\r\nPASS secret\r\nMKD evil\r\n").await;
    client.expect(234).await;
    let mut client = client.secure(&client_tls()).await;
    client.ask("PWD", &[530]).await;
    client.ask("USER joe\r\nPASS secret\r\nPWD", &[331, 230, 257]).await;
    assert_eq!(site.names(), [""; 0]);
    site.end().await;
}

async fn secure_login(site: &Site, tls: &ClientTls) -> Client {
    let mut client = site.connect().await;
    client.ask("AUTH TLS", &[234]).await;
    let mut client = client.secure(tls).await;
    client.ask("USER joe\r\nPASS secret\r\nTYPE I\r\nPBSZ 0\r\nPROT P", &[331, 230, 200, 200, 200]).await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_transfers() {
    let site = Site::start(|options| {
        with_tls(options);
        options.tls_required = true;
    });
    let tls = client_tls();
    site.connect().await.ask("USER joe", &[530]).await;
    let mut client = secure_login(&site, &tls).await;
    for size in SIZES {
        let bytes = pattern(size);
        let address = client.epsv().await;
        client.ask("STOR file", &[150]).await;
        let tcp = Stream::Plain(TcpStream::connect(address).await.unwrap());
        let mut data = tls.connect(tcp, "localhost").await.unwrap();
        data.write_all(&bytes).await.unwrap();
        data.shutdown().await.unwrap();
        client.expect(226).await;
        assert!(std::fs::read(site.path("file")).unwrap() == bytes, "{size} up");
        let address = client.epsv().await;
        client.send("RETR file\r\n").await;
        let tcp = Stream::Plain(TcpStream::connect(address).await.unwrap());
        let mut data = tls.connect(tcp, "localhost").await.unwrap();
        let mut received = Vec::new();
        data.read_to_end(&mut received).await.unwrap();
        client.expect(150).await;
        client.expect(226).await;
        assert!(received == bytes, "{size} down");
    }
    // An end without close_notify may be an attacker's: the file is not taken.
    for size in [10, 1_000_000] {
        let address = client.epsv().await;
        client.ask("STOR cut", &[150]).await;
        let tcp = Stream::Plain(TcpStream::connect(address).await.unwrap());
        let mut data = tls.connect(tcp, "localhost").await.unwrap();
        data.write_all(&pattern(size)).await.unwrap();
        data.flush().await.unwrap();
        drop(data);
        client.expect(426).await;
    }
    // No TLS at all on the data connection.
    let address = client.epsv().await;
    client.ask("RETR file", &[150]).await;
    let mut data = TcpStream::connect(address).await.unwrap();
    data.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    client.expect(522).await;
    assert_eq!(site.names(), ["file"]);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_up_ends_tls_properly_and_stores_nothing() {
    let site = Site::start(with_tls);
    let tls = client_tls();
    for said in ["STOR new", "STOR new\r\nQUIT"] {
        let mut client = secure_login(&site, &tls).await;
        let address = client.epsv().await;
        client.ask(said, &[150]).await;
        let tcp = Stream::Plain(TcpStream::connect(address).await.unwrap());
        let mut data = tls.connect(tcp, "localhost").await.unwrap();
        data.write_all(&pattern(100_000)).await.unwrap();
        // So long that the look for the control connection's end cannot be over before it.
        tokio::time::sleep(Duration::from_millis(400)).await;
        data.shutdown().await.unwrap();
        drop(data);
        drop(client);
    }
    site.uploads_seen(2).await;
    let log = site.service.log.lock().unwrap().join("\n");
    assert!(!log.contains("code: 226"), "{log}");
    assert_eq!(site.names(), [""; 0]);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_connection_is_heard_during_a_transfer() {
    let site = Site::start(with_tls);
    std::fs::write(site.path("file"), pattern(60_000_000)).unwrap();
    let tls = client_tls();
    for private in [false, true] {
        for command in ["RETR file", "STOR up"] {
            for last in ["STAT", "ABOR", ""] {
                let mut client = match private {
                    true => secure_login(&site, &tls).await,
                    false => site.login().await,
                };
                let seen = site.service.log.lock().unwrap().len();
                let address = client.epsv().await;
                client.ask(command, &[150]).await;
                let mut data = Stream::Plain(TcpStream::connect(address).await.unwrap());
                if private {
                    data = tls.connect(data, "localhost").await.unwrap();
                }
                if command == "STOR up" {
                    data.write_all(&pattern(1_000_000)).await.unwrap();
                    data.flush().await.unwrap();
                }
                match last {
                    "STAT" => drop(client.ask("STAT\r\nABOR", &[213, 426, 226]).await),
                    "ABOR" => drop(client.ask("ABOR", &[426, 226]).await),
                    _ => drop(client),
                }
                // The transfer ends although its data connection is still there.
                let ended = || site.service.log.lock().unwrap().iter().skip(seen).any(|line| line.contains("Transfer"));
                while !ended() {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                drop(data);
            }
        }
    }
    assert_eq!(site.names(), ["file"]);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_connection_proves_whose_it_is() {
    let site = Site::start(|options| {
        with_tls(options);
        options.tls_reuse_required = true;
    });
    std::fs::write(site.path("file"), "for joe alone").unwrap();
    let tls = client_tls();
    let mut client = secure_login(&site, &tls).await;
    // Somebody on the same host who has sessions with this server, too, but not this one.
    let foreign = client_tls();
    let _other = secure_login(&site, &foreign).await;
    let address = client.epsv().await;
    client.ask("RETR file", &[150]).await;
    let tcp = Stream::Plain(TcpStream::connect(address).await.unwrap());
    if let Ok(mut thief) = foreign.connect(tcp, "localhost").await {
        let mut bytes = Vec::new();
        let _ = thief.read_to_end(&mut bytes).await;
        assert!(bytes.is_empty(), "a foreign session got {bytes:?}");
    }
    client.expect(522).await;
    for _ in 0..3 {
        let address = client.epsv().await;
        client.ask("RETR file", &[150]).await;
        let tcp = Stream::Plain(TcpStream::connect(address).await.unwrap());
        let mut data = tls.connect(tcp, "localhost").await.unwrap();
        let mut text = String::new();
        data.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "for joe alone");
        client.expect(226).await;
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn implicit_tls() {
    let site = Site::start_with(true, with_tls);
    let tls = client_tls();
    let tcp = Stream::Plain(TcpStream::connect(site.address).await.unwrap());
    let stream = tls.connect(tcp, "localhost").await.unwrap();
    let mut client = Client { stream: BufReader::new(stream), at: site.address };
    client.expect(220).await;
    client.ask("USER joe\r\nPASS secret", &[331, 230]).await;
    let address = client.epsv().await;
    client.ask("LIST", &[150]).await;
    let tcp = Stream::Plain(TcpStream::connect(address).await.unwrap());
    let mut data = tls.connect(tcp, "localhost").await.unwrap();
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).await.unwrap();
    client.expect(226).await;
    // Somebody who speaks in clear text gets nothing.
    let mut plain = TcpStream::connect(site.address).await.unwrap();
    plain.write_all(b"USER joe\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"220"));
    site.end().await;
}
