//! Certificates that openssl makes, as our probes and openssl read them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{server, temp_dir, tool};
use crate::peers::{Peer, Trial, Verdict, trial};

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[trial("openssl", "makes certificates that a probe reads as it does", read_alike)];

/// What openssl prints of a certificate for one option, behind the first `=`.
fn printed(peer: &Peer, cert: &str, option: &[&str]) -> String {
    let args = [&["x509", "-noout", "-in", cert, "-dateopt", "iso_8601"], option].concat();
    let text = peer.run("openssl", &args).text().trim().to_owned();
    text.split_once('=').map_or_else(String::new, |(_, value)| value.to_owned())
}

fn read_alike(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let names = "subjectAltName=DNS:ftp.test,DNS:*.x.test,IP:127.0.0.1,IP:2001:db8::1,email:post@x.test";
    let ec = "ec_paramgen_curve:P-384";
    for (what, key, key_type, bits) in [
        ("rsa", &["-newkey", "rsa:2048"][..], "RSA", 2048),
        ("ec", &["-newkey", "ec", "-pkeyopt", ec], "EC P-384", 384),
        ("ed25519", &["-newkey", "ed25519"], "Ed25519", 256),
    ] {
        let path = dir.path().join(what);
        let cert = path.to_str().unwrap();
        let make = ["req", "-x509", "-nodes", "-utf8", "-days", "20", "-keyout", cert, "-out", cert, "-addext", names];
        let subject = ["-subj", "/C=DE/O=Böse, \"GmbH\"; #1 /CN=ftp.test"];
        peer.run("openssl", [&make[..], &subject, key].concat()).exits(0);
        let server = server("ftpserve").args(["--cert", cert, "."]).dir(dir.path()).start();
        let url = format!("ftpes://{}", server.addr);
        let done = tool("ftpdo").args(["--insecure", "-q", "--json", &url, "probe"]).run();
        let own = &done.exits(0).records_of("probe")[0]["tls"]["certificates"][0];
        let time = |option| printed(peer, cert, &[option]).replace(' ', "T");
        let said = |name: &str| own[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(said("not_before"), time("-startdate"), "{done}");
        assert_eq!(said("not_after"), time("-enddate"), "{done}");
        assert_eq!(said("sha256"), printed(peer, cert, &["-fingerprint", "-sha256"]), "{done}");
        assert_eq!(said("serial").to_uppercase(), printed(peer, cert, &["-serial"]), "{done}");
        let dn = ["-nameopt", "RFC2253,-esc_msb,utf8"];
        assert_eq!(said("subject"), printed(peer, cert, &[&["-subject"][..], &dn].concat()), "{done}");
        assert_eq!(said("issuer"), printed(peer, cert, &[&["-issuer"][..], &dn].concat()), "{done}");
        assert_eq!((said("key_type").as_str(), own["key_bits"].as_u64()), (key_type, Some(bits)), "{done}");
        let told = own["names"].as_array().unwrap().iter().filter_map(|name| name.as_str());
        let told: Vec<&str> = told.collect();
        assert_eq!(told, ["DNS:ftp.test", "DNS:*.x.test", "IP:127.0.0.1", "IP:2001:db8::1", "email:post@x.test"]);
        // And what openssl makes of the key.
        let (pem, der) = (format!("{cert}.pem"), format!("{cert}.der"));
        peer.run("openssl", ["x509", "-in", cert, "-pubkey", "-noout", "-out", &pem]).exits(0);
        peer.run("openssl", ["pkey", "-pubin", "-in", &pem, "-outform", "DER", "-out", &der]).exits(0);
        let digest = STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, &std::fs::read(&der).unwrap()));
        assert_eq!(said("key_sha256"), digest, "{done}");
        tool("ftpls").args(["--pin", &format!("sha256//{digest}"), &url]).run().exits(0);
    }
    Verdict::Ok
}
