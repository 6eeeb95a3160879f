//! Where an address belongs: to everybody, to a network of somebody's own, or to no registry ever.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// The internet.
    Public,
    /// This machine, or a network of its owner.
    Private,
    /// A link, or the place where clouds keep their metadata: no registry sends anybody there.
    Link,
}

impl Zone {
    /// Returns the zone of an address. An IPv4 address inside an IPv6 address counts as itself.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => match embedded(address) {
                Some(address) => Self::of_v4(address),
                None => Self::of_v6(address),
            },
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [first, second, ..] = address.octets();
        if address.is_link_local() || first == 0 || address.is_broadcast() || address.is_multicast()
        {
            return Self::Link;
        }
        let own = address.is_private()
            || address.is_loopback()
            // RFC 6598, the networks of carriers and clouds.
            || (first == 100 && (64..128).contains(&second));
        if own { Self::Private } else { Self::Public }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let segments = address.segments();
        // The second network is where AWS has its metadata service on IPv6.
        if segments[0] & 0xffc0 == 0xfe80
            || (segments[0] == 0xfd00 && segments[1] == 0x0ec2)
            || address.is_unspecified()
            || address.is_multicast()
        {
            return Self::Link;
        }
        // RFC 4193, unique local addresses.
        let own = address.is_loopback() || segments[0] & 0xfe00 == 0xfc00;
        if own { Self::Private } else { Self::Public }
    }
}

/// Returns the IPv4 address that an IPv6 address stands for: mapped (RFC 4291 §2.5.5.2), by NAT64
/// (RFC 6052) or by 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let at = |from: usize| {
        Ipv4Addr::new(
            octets[from],
            octets[from + 1],
            octets[from + 2],
            octets[from + 3],
        )
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(at(12)),
        // `::1` and `::` are addresses of their own.
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => Some(at(12)),
        [0x2002, ..] => Some(at(2)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_their_zones() {
        for (address, expected) in [
            ("1.1.1.1", Zone::Public),
            ("100.63.0.1", Zone::Public),
            ("2606:4700::1111", Zone::Public),
            ("64:ff9b::101:101", Zone::Public),
            ("10.0.0.1", Zone::Private),
            ("172.31.0.1", Zone::Private),
            ("192.168.1.1", Zone::Private),
            ("100.64.0.1", Zone::Private),
            ("127.0.0.1", Zone::Private),
            ("127.9.9.9", Zone::Private),
            ("::1", Zone::Private),
            ("::ffff:127.0.0.1", Zone::Private),
            ("::7f00:1", Zone::Private),
            ("64:ff9b::a00:1", Zone::Private),
            ("2002:c0a8:101::1", Zone::Private),
            ("fd12::1", Zone::Private),
            ("169.254.169.254", Zone::Link),
            ("0.0.0.0", Zone::Link),
            ("0.1.2.3", Zone::Link),
            ("255.255.255.255", Zone::Link),
            ("224.0.0.1", Zone::Link),
            ("::", Zone::Link),
            ("::ffff:169.254.169.254", Zone::Link),
            ("64:ff9b::a9fe:a9fe", Zone::Link),
            ("2002:a9fe:a9fe::1", Zone::Link),
            ("fe80::1", Zone::Link),
            ("fd00:ec2::254", Zone::Link),
            ("ff02::1", Zone::Link),
        ] {
            assert_eq!(Zone::of(address.parse().unwrap()), expected, "{address}");
        }
    }
}
