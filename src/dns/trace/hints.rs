//! The starting point of a trace: the root servers, built in or from a hints file (RFC 9609).

use std::net::IpAddr;

use super::Host;
use crate::dns::name::Name;
use crate::dns::record::Rtype;
use crate::dns::zone::{ZoneReader, ZoneSource};

/// The maximum number of records taken from a hints file.
pub const MAX_HINTS: usize = 512;
/// The maximum size of a hints file, in bytes.
pub const MAX_HINTS_BYTES: usize = 1 << 20;

/// The root servers since November 2023 (<https://www.internic.net/domain/named.root>).
const ROOT: &str = "\
a 198.41.0.4 2001:503:ba3e::2:30
b 170.247.170.2 2801:1b8:10::b
c 192.33.4.12 2001:500:2::c
d 199.7.91.13 2001:500:2d::d
e 192.203.230.10 2001:500:a8::e
f 192.5.5.241 2001:500:2f::f
g 192.112.36.4 2001:500:12::d0d
h 198.97.190.53 2001:500:1::53
i 192.36.148.17 2001:7fe::53
j 192.58.128.30 2001:503:c27::2:30
k 193.0.14.129 2001:7fd::1
l 199.7.83.42 2001:500:9f::42
m 202.12.27.33 2001:dc3::35
";

/// The root servers, built in.
pub fn root() -> Vec<Host> {
    let host = |line: &str| {
        let mut words = line.split(' ');
        let name = Name::parse(&format!("{}.root-servers.net.", words.next()?)).ok()?;
        Some(Host::new(name, words.filter_map(|word| word.parse().ok()).collect()))
    };
    ROOT.lines().filter_map(host).collect()
}

/// Reads a hints file: NS records of the root, and addresses of the servers that they name.
///
/// # Errors
/// The file is not a valid zone file, or it names no server with an address.
pub fn parse(text: &[u8]) -> Result<Vec<Host>, String> {
    if text.len() > MAX_HINTS_BYTES {
        return Err(format!("larger than {MAX_HINTS_BYTES} bytes"));
    }
    let source = ZoneSource { name: "hints".to_owned(), text: [b"$TTL 0\n", text].concat() };
    let mut reader = ZoneReader::new(source, Some(Name::root()));
    let (mut names, mut addresses): (Vec<Name>, Vec<(Name, IpAddr)>) = (Vec::new(), Vec::new());
    for count in 0.. {
        let entry = reader.next(&mut |_| Err("no files inside".to_owned()));
        let entry = entry.map_err(|error| format!("line {}: {}", error.line.saturating_sub(1), error.why))?;
        let Some(entry) = entry else { break };
        if count >= MAX_HINTS {
            return Err(format!("more than {MAX_HINTS} records"));
        }
        let record = entry.record;
        match (record.rtype, record.address(), record.target()) {
            (Rtype::NS, _, Some(host)) if record.name.is_root() && !names.contains(&host) => names.push(host),
            (_, Some(address), _) => addresses.push((record.name, address)),
            _ => {}
        }
    }
    let host = |name: Name| {
        let own = addresses.iter().filter(|(owner, _)| *owner == name).map(|(_, address)| *address).collect();
        Host::new(name, own)
    };
    let hosts: Vec<Host> = names.into_iter().map(host).filter(|host| !host.addresses.is_empty()).collect();
    if hosts.is_empty() { Err("no root server with an address in it".to_owned()) } else { Ok(hosts) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_and_from_a_file() {
        let hosts = root();
        assert_eq!(hosts.len(), 13);
        assert!(hosts.iter().all(|host| host.addresses.len() == 2));
        let text = b"; comment\n. 3600000 NS A.ROOT.\n. NS b.root.\nA.root. 5 IN A 192.0.2.1\nb.root AAAA ::1\nx A 192.0.2.9\n";
        let hosts = parse(text).unwrap();
        assert_eq!(hosts.len(), 2);
        assert_eq!(hosts[0].addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        for (bad, why) in [
            (&b""[..], "no root server"),
            (b". NS a.\n", "no root server"),
            (b"\n. NS\n", "line 2:"),
            (b"a. A 192.0.2.1\n", "no root server"),
        ] {
            assert!(parse(bad).unwrap_err().contains(why));
        }
        assert!(parse("a. A 192.0.2.1\n".repeat(MAX_HINTS + 1).as_bytes()).unwrap_err().contains("more than"));
    }
}
