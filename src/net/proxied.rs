//! The header by which a proxy tells a server who its client is: the PROXY protocol, version 2 (haproxy's proxy-protocol.txt,
//! section 2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt;

use crate::fault::{Fault, Kind};
use crate::net::stream::Stream;
use crate::scope::canonical;

/// The first bytes of a header: no protocol of ours begins with them.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family and length.
const FIXED_BYTES: usize = 16;
/// The most bytes of addresses and extensions.
const MAX_BYTES: usize = 2048;
/// The proxy sends its header at once.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// The client that a proxy names; `None` if the connection is the proxy's own (a health check) or not of IP.
pub type ProxiedClient = Option<SocketAddr>;

/// Parses the fixed part: true for a connection of a client, the address family, and the number of bytes that follow.
fn fixed(header: &[u8; FIXED_BYTES]) -> Result<(bool, u8, usize), Fault> {
    let bad = |what: &str| Fault::new(Kind::Protocol, format!("PROXY header: {what}"));
    let [signature @ .., command, family, high, low] = header;
    if signature != SIGNATURE {
        return Err(bad("missing, or not of version 2"));
    }
    let of_client = match command {
        0x20 => false,
        0x21 => true,
        _ => return Err(bad("unknown version or command")),
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > MAX_BYTES {
        return Err(bad("too long"));
    }
    Ok((of_client, *family, length))
}

/// Parses the addresses: the first is that of the client.
fn client(family: u8, rest: &[u8]) -> Result<ProxiedClient, Fault> {
    let short = || Fault::new(Kind::Protocol, "PROXY header: addresses cut off");
    // TCP over IPv4 or IPv6: two addresses, two ports.
    let (ip, ports): (IpAddr, &[u8]) = match family {
        0x11 => {
            let (source, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
            (Ipv4Addr::from(*source).into(), rest.get(4..).ok_or_else(short)?)
        }
        0x21 => {
            let (source, rest) = rest.split_first_chunk::<16>().ok_or_else(short)?;
            (Ipv6Addr::from(*source).into(), rest.get(16..).ok_or_else(short)?)
        }
        _ => return Ok(None),
    };
    let (port, after) = ports.split_first_chunk::<2>().ok_or_else(short)?;
    after.get(..2).ok_or_else(short)?;
    Ok(Some(canonical(SocketAddr::new(ip, u16::from_be_bytes(*port)))))
}

/// Parses a whole header; returns the client and the length of the header.
///
/// # Errors
/// [`Kind::Protocol`] for anything else.
pub fn parse(bytes: &[u8]) -> Result<(ProxiedClient, usize), Fault> {
    let short = || Fault::new(Kind::Protocol, "PROXY header: cut off");
    let (header, rest) = bytes.split_first_chunk::<FIXED_BYTES>().ok_or_else(short)?;
    let (of_client, family, length) = fixed(header)?;
    let rest = rest.get(..length).ok_or_else(short)?;
    Ok((if of_client { client(family, rest)? } else { None }, FIXED_BYTES + length))
}

/// Reads the header of a new connection, and nothing behind it.
///
/// # Errors
/// [`Kind::Protocol`], [`Kind::TimedOut`] or [`Kind::Disconnected`] if there is none.
pub async fn read(stream: &mut Stream) -> Result<ProxiedClient, Fault> {
    let lost = |_: std::io::Error| Fault::new(Kind::Disconnected, "PROXY header: the connection ended");
    let header = async {
        let mut header = [0; FIXED_BYTES];
        stream.read_exact(&mut header).await.map_err(lost)?;
        let (of_client, family, length) = fixed(&header)?;
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await.map_err(lost)?;
        if of_client { client(family, &rest) } else { Ok(None) }
    };
    let late = |_| Err(Fault::new(Kind::TimedOut, "PROXY header: none came"));
    tokio::time::timeout(HEADER_TIME, header).await.unwrap_or_else(late)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[test]
    fn the_client_is_the_source() {
        let v4 = [192, 0, 2, 1, 127, 0, 0, 1, 0x12, 0x34, 0, 25];
        let mut v6 = [0; 39];
        (v6[10], v6[11], v6[12], v6[15], v6[33]) = (0xff, 0xff, 198, 7, 9);
        for (command, family, rest, client) in [
            (0x21, 0x11, &v4[..], Some("192.0.2.1:4660")),
            (0x21, 0x21, &v6[..], Some("198.0.0.7:9")),
            (0x20, 0x11, &v4[..], None),
            (0x20, 0, &[], None),
            (0x21, 0x31, &[0; 216], None),
        ] {
            let bytes = header(command, family, rest);
            let expected = client.map(|client| client.parse().unwrap());
            assert_eq!(parse(&bytes), Ok((expected, bytes.len())));
            assert_eq!(
                parse(&[&bytes[..], b"EHLO x"].concat()),
                Ok((expected, bytes.len())),
                "what follows is not read"
            );
            for cut in 0..bytes.len() {
                assert!(parse(&bytes[..cut]).is_err(), "{cut}");
            }
        }
        for bad in [
            header(0x22, 0x11, &v4),
            header(0x11, 0x11, &v4),
            header(0x21, 0x11, &v4[..11]),
            header(0x21, 0x21, &v6[..35]),
        ] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
        assert!(parse(&header(0x20, 0, &vec![0; MAX_BYTES])).is_ok());
        assert!(parse(&header(0x20, 0, &vec![0; MAX_BYTES + 1])).is_err());
        assert!(parse(b"PROXY TCP4 192.0.2.1 127.0.0.1 4660 25\r\n").is_err(), "version 1");
    }
}
