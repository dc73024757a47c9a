//! The hosts file (hosts(5)): names that need no query.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use crate::dns::name::Name;
use crate::fault::Fault;
use crate::net::literal::loopback;

/// The path of the system's file.
pub const SYSTEM: &str = "/etc/hosts";
/// The maximum number of bytes read from the file.
const MAX_BYTES: u64 = 4 << 20;

/// The entries of the file, in its order.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    addresses: HashMap<Name, Vec<IpAddr>>,
    names: HashMap<IpAddr, Vec<Name>>,
}

impl Hosts {
    /// Reads the system's file. A file that cannot be read counts as empty.
    pub fn system() -> Hosts {
        Hosts::load(Path::new(SYSTEM)).unwrap_or_default()
    }

    /// Reads this file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(path: &Path) -> Result<Hosts, Fault> {
        use std::io::Read;
        let mut bytes = Vec::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
        read.map_err(|error| Fault::local(path.display(), &error))?;
        Ok(Hosts::parse(&String::from_utf8_lossy(&bytes)))
    }

    /// Parses the text of such a file: per line an address, then names. Invalid lines are skipped, as the C library does.
    pub fn parse(text: &str) -> Hosts {
        let mut hosts = Hosts::default();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
            for name in words.filter_map(|word| Name::parse(word).ok()) {
                hosts.addresses.entry(name.clone()).or_default().push(address);
                hosts.names.entry(address).or_default().push(name);
            }
        }
        hosts
    }

    /// The addresses of a name; `None` if the name is unknown. `localhost` and the names below it have the loopback addresses
    /// if the file does not list them (RFC 6761, section 6.3).
    pub fn addresses(&self, name: &Name) -> Option<Vec<IpAddr>> {
        let listed = self.addresses.get(name).cloned();
        listed.or_else(|| loopback(&name.to_host()).map(Vec::from))
    }

    /// The names of an address, given as its reverse name ([`Name::reverse`]); `None` if the address is unknown.
    pub fn names(&self, reverse: &Name) -> Option<&[Name]> {
        self.names.iter().find(|(address, _)| Name::reverse(**address) == *reverse).map(|(_, names)| names.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let hosts = Hosts::parse("127.0.0.1 localhost Loop # x\n::1 localhost\nbad name\n192.0.2.1 a..b web\n");
        let addresses = |name: &str| hosts.addresses(&Name::parse(name).unwrap()).map_or(0, |list| list.len());
        assert_eq!((addresses("LOCALHOST"), addresses("loop"), addresses("web"), addresses("x")), (2, 1, 1, 0));
        assert_eq!(addresses("app.localhost"), 2);
        let names = |address: &str| hosts.names(&Name::reverse(address.parse().unwrap())).map(<[Name]>::len);
        assert_eq!((names("127.0.0.1"), names("192.0.2.2")), (Some(2), None));
        assert!(Hosts::load(Path::new("/no/such/file")).is_err());
    }
}
