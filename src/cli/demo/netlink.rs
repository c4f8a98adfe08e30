//! The addresses of network interfaces, asked of the kernel. rtnetlink(7).
//!
//! `/proc` knows which IPv4 addresses there are but not whose, and what libc offers is unsafe; one
//! question over a socket is neither.

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HEADER_BYTES: usize = 16;
const ADDRESS_BYTES: usize = 8;
const REQUEST: u16 = 0x1;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
/// Of a point-to-point interface the other end's, otherwise the interface's own.
const ATTRIBUTE_ADDRESS: u16 = 1;
/// The interface's own, where the two differ.
const ATTRIBUTE_LOCAL: u16 = 2;
const INET: u8 = 2;
const INET6: u8 = 10;

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// The interface's number.
    pub(super) interface: u32,
    /// The address.
    pub(super) ip: IpAddr,
    /// Length of the network's prefix.
    pub(super) prefix_bits: u8,
}

/// Asks the kernel for all addresses of all interfaces.
pub(super) fn addresses() -> std::io::Result<Vec<Address>> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    send(&socket, &question(), SendFlags::empty())?;
    let mut all = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let (length, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        let (mut some, more) = read(&buffer[..length])?;
        all.append(&mut some);
        if more == More::No {
            return Ok(all);
        }
    }
}

fn question() -> [u8; HEADER_BYTES + ADDRESS_BYTES] {
    let mut message = [0; HEADER_BYTES + ADDRESS_BYTES];
    message[0..4].copy_from_slice(&((HEADER_BYTES + ADDRESS_BYTES) as u32).to_ne_bytes());
    message[4..6].copy_from_slice(&GET_ADDRESS.to_ne_bytes());
    message[6..8].copy_from_slice(&(REQUEST | DUMP).to_ne_bytes());
    message
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    Yes,
    No,
}

/// Reads one datagram of answers, and whether another follows.
fn read(mut datagram: &[u8]) -> std::io::Result<(Vec<Address>, More)> {
    let mut addresses = Vec::new();
    while let Some(length) = number(datagram, 0) {
        let length = length as usize;
        let (Some(message), Some(kind)) = (datagram.get(..length), half(datagram, 4)) else {
            break;
        };
        if length < HEADER_BYTES {
            break;
        }
        match kind {
            DONE => return Ok((addresses, More::No)),
            ERROR => {
                return Err(std::io::Error::other(
                    "the kernel refused to list addresses",
                ));
            }
            NEW_ADDRESS => addresses.extend(address(&message[HEADER_BYTES..])),
            _ => {}
        }
        datagram = datagram.get(aligned(length)..).unwrap_or(&[]);
    }
    let more = if addresses.is_empty() {
        More::No
    } else {
        More::Yes
    };
    Ok((addresses, more))
}

fn address(message: &[u8]) -> Option<Address> {
    let [family, prefix_bits, ..] = *message else {
        return None;
    };
    let interface = number(message, 4)?;
    let mut ip = None;
    let mut rest = message.get(ADDRESS_BYTES..)?;
    while let (Some(length), Some(kind)) = (half(rest, 0), half(rest, 2)) {
        let length = usize::from(length);
        let Some(value) = rest.get(4..length) else {
            break;
        };
        match kind {
            ATTRIBUTE_LOCAL => ip = parsed(family, value).or(ip),
            ATTRIBUTE_ADDRESS => ip = ip.or(parsed(family, value)),
            _ => {}
        }
        rest = rest.get(aligned(length)..).unwrap_or(&[]);
    }
    Some(Address {
        interface,
        ip: ip?,
        prefix_bits,
    })
}

fn parsed(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes
    }

    fn message(kind: u16, content: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER_BYTES + content.len()) as u32)
            .to_ne_bytes()
            .to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(content);
        bytes
    }

    #[test]
    fn own_end_of_a_point_to_point_link_is_its_address() {
        let mut content = vec![INET, 32, 0, 0];
        content.extend(7u32.to_ne_bytes());
        content.extend(attribute(ATTRIBUTE_ADDRESS, &[10, 0, 0, 2]));
        content.extend(attribute(ATTRIBUTE_LOCAL, &[10, 0, 0, 1]));
        let mut datagram = message(NEW_ADDRESS, &content);
        datagram.extend(message(DONE, &[0; 4]));
        let expected = Address {
            interface: 7,
            ip: [10, 0, 0, 1].into(),
            prefix_bits: 32,
        };
        assert_eq!(read(&datagram).unwrap(), (vec![expected], More::No));
    }

    #[test]
    fn every_prefix_of_an_answer_is_read_to_an_end() {
        let mut content = vec![INET6, 128, 0, 0];
        content.extend(1u32.to_ne_bytes());
        content.extend(attribute(ATTRIBUTE_ADDRESS, &[1; 16]));
        let datagram = message(NEW_ADDRESS, &content);
        for end in 0..datagram.len() {
            assert_eq!(read(&datagram[..end]).unwrap(), (vec![], More::No));
        }
        assert_eq!(read(&datagram).unwrap().0.len(), 1);
        assert!(read(&message(ERROR, &[0; 4])).is_err());
    }

    #[test]
    fn kernel_tells_the_loopback_address() {
        let all = addresses().unwrap();
        assert!(
            all.iter().any(|address| address.ip.is_loopback()),
            "{all:?}"
        );
    }
}
