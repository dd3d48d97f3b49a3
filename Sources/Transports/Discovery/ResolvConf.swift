internal import Pipeline

/// Whom to ask for names: the part of `resolv.conf(5)` that a stub resolver needs for whole names.
struct ResolvConf: Sendable, Hashable {
  static let path = "/etc/resolv.conf"

  /// At most three, in the order in which they are asked. None named: the one on this machine.
  var servers: [SocketAddress] = []

  /// Lines that are not understood are passed over, as the C library does. `search` and `ndots` do not matter: names are
  /// asked for as they are.
  init(_ text: String) {
    for line in text.split(whereSeparator: \.isNewline) {
      let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
      guard words.count >= 2, words[0] == "nameserver", servers.count < 3, let address = IPAddress(String(words[1]))
      else {
        continue
      }
      servers.append(.ip(address, port: 53))
    }
    if servers.isEmpty { servers = [.ip(.loopbackV4, port: 53)] }
  }
}
