import Pipeline
import Testing

@testable import Transports

/// However the network cuts the client's bytes, the handshake goes the same way.
@Suite struct HandshakeSplitTests {
  typealias Goal = SOCKS5Handshake.Goal

  struct Script: Sendable, CustomTestStringConvertible {
    var name: String
    var bytes: [UInt8]
    var goals: [@Sendable () -> Goal]
    var testDescription: String { name }

    func run(_ segments: [[UInt8]]) -> HandshakeTranscript { HandshakeTranscript(segments, goals: goals.map { $0() }) }
  }

  static let early = Array("GET / HTTP/1.1\r\n\r\n".utf8)

  static let scripts: [Script] = [
    Script(
      name: "anonymous, IPv4, early data",
      bytes: ClientBytes.greeting(0, 1, 2) + ClientBytes.connect(v4: [192, 0, 2, 1], port: 80) + early,
      goals: [{ .destination }, { .open(bound: nil) }]),
    Script(
      name: "password, name, early data",
      bytes: ClientBytes.greeting(2) + ClientBytes.login([0, 1, 2], Array("secretThicket".utf8))
        + ClientBytes.connect(name: "example.com", port: 443) + early,
      goals: [{ .credentials }, { .destination }, { .open(bound: HandshakeTests.bound) }]),
    Script(
      name: "password, IPv6, refused after the login",
      bytes: ClientBytes.greeting(0, 2) + ClientBytes.login("u", "p")
        + ClientBytes.connect(v6: [UInt8](repeating: 0x20, count: 16), port: 1) + early,
      goals: [{ .credentials }, { HandshakeTests.refusal(.forbidden, authenticated: true) }]),
    Script(
      name: "refused before the method",
      bytes: ClientBytes.greeting(0) + ClientBytes.connect(name: "a.b", port: 9) + early,
      goals: [{ HandshakeTests.refusal(.rateLimited) }]),
    Script(
      name: "failed login", bytes: ClientBytes.greeting(2, 3) + ClientBytes.login("user", "wrong") + early,
      goals: [{ .credentials }, { HandshakeTests.refusal(.credentialsInvalid) }]),
    Script(
      name: "BIND",
      bytes: ClientBytes.greeting(0) + ClientBytes.connect(v4: [1, 2, 3, 4], port: 5, command: 2) + early,
      goals: [{ .destination }, { HandshakeTests.refusal(.unsupportedCommand) }]),
    Script(
      name: "UDP ASSOCIATE to a type that nobody knows", bytes: ClientBytes.greeting(0) + [5, 3, 0, 9, 1, 2, 3],
      goals: [{ .destination }, { HandshakeTests.refusal(.unsupportedCommand) }]),
    Script(
      name: "a name with a NUL", bytes: ClientBytes.greeting(0) + ClientBytes.connect(name: [65, 0, 66], port: 5),
      goals: [{ .destination }, { HandshakeTests.refusal(.malformed) }]),
    Script(
      name: "two wrong bytes in a request", bytes: ClientBytes.greeting(0) + [5, 9, 7, 9],
      goals: [{ .destination }, { HandshakeTests.refusal(.malformed) }]),
    Script(
      name: "HTTP", bytes: early, goals: [{ .credentials }, { HandshakeTests.refusal(.malformed) }]),
  ]

  @Test(arguments: scripts) func byteByByteIsTheSame(script: Script) {
    #expect(script.run(script.bytes.map { [$0] }) == script.run([script.bytes]))
  }

  @Test(arguments: scripts) func everyPairOfCutsIsTheSame(script: Script) {
    let whole = script.run([script.bytes])
    let bytes = script.bytes
    for first in 0...bytes.count {
      for second in first...bytes.count {
        let cut = [Array(bytes[..<first]), Array(bytes[first..<second]), Array(bytes[second...])]
        if script.run(cut) != whole {
          Issue.record("cut at \(first) and \(second): \(script.run(cut)), in one piece: \(whole)")
          return
        }
      }
    }
  }

  @Test(arguments: scripts) func aPrefixIsNeverTakenForTheWhole(script: Script) {
    let whole = script.run([script.bytes])
    for length in 0..<script.bytes.count {
      let run = script.run([Array(script.bytes[..<length])])
      if run.outcomes.last == .awaitsMore {
        #expect(whole.sent.starts(with: run.sent))
        #expect(whole.outcomes.starts(with: run.outcomes.dropLast()))
      } else {
        // Everything that the handshake needed was there; only the early data is shorter.
        #expect(run.sent == whole.sent)
        #expect(run.outcomes.count == whole.outcomes.count)
      }
    }
  }

  /// 20 000 mutated clients: no trap, an end in few steps, the same end in whatever pieces, and never a byte of ours that
  /// is not one of our messages.
  @Test func mutatedClientsAreTreatedTheSameInWhateverPieces() {
    var random = SeededBits(seed: 0x5345_4544)
    for round in 0..<20_000 {
      let script = Self.scripts[round % Self.scripts.count]
      let bytes = mutate(script.bytes, &random)
      var pieces: [[UInt8]] = []
      var rest = bytes[...]
      while !rest.isEmpty {
        let length = Int.random(in: 1...min(rest.count, 9), using: &random)
        pieces.append(Array(rest.prefix(length)))
        rest = rest.dropFirst(length)
      }
      let whole = script.run([bytes])
      let inPieces = script.run(pieces)
      if whole != inPieces || inPieces.steps > 2 * bytes.count + 20 || !areMessages(whole.sent) {
        Issue.record("round \(round), \(script.name): \(bytes): whole \(whole), in pieces \(inPieces)")
        return
      }
    }
  }

  private func mutate(_ bytes: [UInt8], _ random: inout SeededBits) -> [UInt8] {
    var bytes = bytes
    for _ in 0..<Int.random(in: 1...4, using: &random) {
      let at = Int.random(in: 0..<max(1, bytes.count), using: &random)
      switch Int.random(in: 0..<5, using: &random) {
      case 0 where !bytes.isEmpty: bytes[at] = UInt8.random(in: .min ... .max, using: &random)
      case 1 where !bytes.isEmpty: bytes.remove(at: at)
      case 2: bytes.insert(UInt8.random(in: 0...5, using: &random), at: min(at, bytes.count))
      case 3 where !bytes.isEmpty: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      default: bytes += [UInt8](repeating: 5, count: Int.random(in: 0...1400, using: &random))
      }
    }
    return bytes
  }

  /// Whether the bytes are a sequence of a method choice, a login status and a reply, each at most once and in this order.
  private func areMessages(_ bytes: [UInt8]) -> Bool {
    var rest = bytes[...]
    if rest.isEmpty { return true }
    guard rest.popFirst() == 5, let method = rest.popFirst(), [0, 2, 0xff].contains(method) else { return false }
    if rest.isEmpty { return true }
    if method == 0xff { return false }
    if method == 2 {
      guard rest.popFirst() == 1, let status = rest.popFirst(), status <= 1 else { return false }
      if rest.isEmpty { return true }
      if status == 1 { return false }
    }
    let reply = Array(rest)
    guard reply.count >= 10, reply[0] == 5, reply[1] <= 8, reply[2] == 0 else { return false }
    return reply.count == (reply[3] == 1 ? 10 : reply[3] == 4 ? 22 : -1)
  }
}
