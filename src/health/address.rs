//! Which addresses are public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether `address` is one of the public Internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// The blocks that are not globally reachable (IANA's registry of special-purpose addresses, with
/// multicast and the reserved rest), as first address and length of the prefix.
const SPECIAL_V4: [([u8; 4], u32); 16] = [
    ([0, 0, 0, 0], 8),        // this network
    ([10, 0, 0, 0], 8),       // private
    ([100, 64, 0, 0], 10),    // carrier-grade NAT; 100.100.100.200 tells secrets in one cloud
    ([127, 0, 0, 0], 8),      // loopback
    ([168, 63, 129, 16], 32), // public by its number, but it tells secrets in one cloud
    ([169, 254, 0, 0], 16),   // link-local; 169.254.169.254 tells secrets in most clouds
    ([172, 16, 0, 0], 12),    // private
    ([192, 0, 0, 0], 24),     // protocol assignments
    ([192, 0, 2, 0], 24),     // documentation
    ([192, 88, 99, 0], 24),   // relays from IPv6, given up
    ([192, 168, 0, 0], 16),   // private
    ([198, 18, 0, 0], 15),    // benchmarks
    ([198, 51, 100, 0], 24),  // documentation
    ([203, 0, 113, 0], 24),   // documentation
    ([224, 0, 0, 0], 4),      // multicast
    ([240, 0, 0, 0], 4),      // reserved, broadcast
];

/// The same within `2000::/3`, the only block of public addresses.
const SPECIAL_V6: [([u16; 2], u32); 4] = [
    ([0x2001, 0], 23),     // protocol assignments, Teredo among them
    ([0x2001, 0xdb8], 32), // documentation
    ([0x2002, 0], 16),     // 6to4, which holds an IPv4 address
    ([0x3fff, 0], 20),     // documentation
];

/// `64:ff9b::/96`: what a network without IPv4 puts before the IPv4 addresses it reaches
/// (RFC 6052).
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    let within = |(block, length): &([u8; 4], u32)| {
        (bits ^ u32::from_be_bytes(*block)) >> (32 - length) == 0
    };
    !SPECIAL_V4.iter().any(within)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    if segments[..6] == NAT64 {
        let [.., a, b, c, d] = address.octets();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    let join = |high: u16, low: u16| u32::from(high) << 16 | u32::from(low);
    let bits = join(segments[0], segments[1]);
    let within =
        |([high, low], length): &([u16; 2], u32)| (bits ^ join(*high, *low)) >> (32 - length) == 0;
    bits >> 29 == 0b001 && !SPECIAL_V6.iter().any(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn all(addresses: &[&str], public: bool) {
        for address in addresses {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        all(&["1.1.1.1", "8.8.8.8", "142.250.1.95", "172.15.255.255", "172.32.0.0"], true);
        all(&["100.63.255.255", "100.128.0.0", "192.0.1.0", "198.20.0.0", "223.255.255.255"], true);
        all(&["2001:4860:4860::8888", "2606:4700::1", "2a00:1450::1", "2001:200::1"], true);
        all(&["64:ff9b::808:808"], true);
    }

    #[test]
    fn addresses_of_machines_and_private_networks_are_not() {
        all(&["127.0.0.1", "127.255.0.1", "0.0.0.0", "0.1.2.3", "10.0.0.1", "192.168.1.1"], false);
        all(&["172.16.0.1", "172.31.255.255", "169.254.169.254", "168.63.129.16"], false);
        all(&["100.64.0.1", "100.100.100.200", "100.127.255.255"], false);
        all(&["192.0.0.1", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255"], false);
        all(&["198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"], false);
        all(&["255.255.255.255"], false);
    }

    #[test]
    fn neither_are_those_of_ipv6_that_stand_for_them() {
        all(&["::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:169.254.169.254"], false);
        all(&["::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"], false);
        all(&["fe80::1", "febf::1", "fec0::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254"], false);
        all(&["ff02::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::1", "3fff::1"], false);
        all(&["5f00::1", "4000::1", "e000::1"], false);
    }
}
