// Which IP addresses a build may reach: public ones only. Pure.
import { BlockList, isIPv4, isIPv6 } from 'node:net'

const REFUSED_V4: [string, number][] = [
  ['0.0.0.0', 8], // this network
  ['10.0.0.0', 8],
  ['100.64.0.0', 10], // carrier NAT, and a cloud's metadata
  ['127.0.0.0', 8],
  ['168.63.129.16', 32], // a cloud's host agent, public only by its looks
  ['169.254.0.0', 16], // link-local and cloud metadata
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24], // documentation
  ['192.31.196.0', 24], // AS112
  ['192.52.193.0', 24], // multicast tunnels
  ['192.88.99.0', 24], // 6to4 relays
  ['192.168.0.0', 16],
  ['192.175.48.0', 24], // AS112
  ['198.18.0.0', 15], // benchmarks
  ['198.51.100.0', 24], // documentation
  ['203.0.113.0', 24], // documentation
  ['224.0.0.0', 3], // multicast, reserved, broadcast
]

/** Only 2000::/3 is public at all; inside it these are not, or carry an IPv4 address. */
const REFUSED_V6: [string, number][] = [
  ['2001::', 23], // protocol assignments, Teredo, ORCHID
  ['2001:db8::', 32], // documentation
  ['2002::', 16], // 6to4
  ['2620:4f:8000::', 48], // AS112
  ['3fff::', 20], // documentation
]

const v4 = new BlockList()
for (const [net, bits] of REFUSED_V4) v4.addSubnet(net, bits, 'ipv4')
const v6 = new BlockList()
for (const [net, bits] of REFUSED_V6) v6.addSubnet(net, bits, 'ipv6')
const globalUnicast = new BlockList()
globalUnicast.addSubnet('2000::', 3, 'ipv6')

/** IPv4-mapped and NAT64 addresses lie outside 2000::/3 and are refused with everything else there. */
export function isPublicAddress(address: string): boolean {
  if (isIPv4(address)) return !v4.check(address, 'ipv4')
  if (!isIPv6(address) || address.includes('%')) return false
  return globalUnicast.check(address, 'ipv6') && !v6.check(address, 'ipv6')
}
