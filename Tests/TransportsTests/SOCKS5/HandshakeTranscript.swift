import Pipeline

@testable import Transports

/// What a handshake did with a client's bytes while a chain pursued its goals, one after the other.
struct HandshakeTranscript: Equatable {
  enum Outcome: Equatable {
    case credentials(user: [UInt8], password: [UInt8])
    case noCredentials
    case destination(Endpoint)
    case opened(early: [UInt8])
    case fault(Rejection.Kind)
    case close
    /// The client has sent all that it sends, and the goal is not reached.
    case awaitsMore
  }

  var sent: [UInt8] = []
  var outcomes: [Outcome] = []
  /// Steps taken, to see that a handshake comes to an end. Depends on the segments, so it is not compared.
  var steps = 0

  static func == (a: Self, b: Self) -> Bool { a.sent == b.sent && a.outcomes == b.outcomes }

  /// Feeds `segments` one by one, each when the handshake asks for more.
  init(_ segments: [[UInt8]], goals: [SOCKS5Handshake.Goal]) {
    var handshake = SOCKS5Handshake()
    var segments = segments[...]
    /// What the last read did not take, because the inbox had no room for it.
    var pending: ArraySlice<UInt8> = []
    for goal in goals {
      goal: while true {
        steps += 1
        switch handshake.advance(to: goal) {
        case .read:
          while pending.isEmpty, let segment = segments.popFirst() { pending = segment[...] }
          guard !pending.isEmpty else {
            outcomes.append(.awaitsMore)
            return
          }
          handshake.receive { room in
            let taken = min(room.freeCapacity, pending.count)
            for _ in 0..<taken { room.append(pending.removeFirst()) }
          }
        case .send(let message): sent += message.bytes
        case .credentials(let credentials?):
          outcomes.append(.credentials(user: credentials.user, password: credentials.password.reveal()))
          break goal
        case .credentials(nil):
          outcomes.append(.noCredentials)
          break goal
        case .destination(let endpoint):
          outcomes.append(.destination(endpoint))
          break goal
        case .opened:
          // What was not read yet stays in the socket, in front of nothing.
          outcomes.append(.opened(early: handshake.takeEarlyData() + Array(pending) + segments.flatMap { $0 }))
          break goal
        case .fault(let rejection):
          outcomes.append(.fault(rejection.kind))
          break goal
        case .close:
          outcomes.append(.close)
          break goal
        }
      }
    }
  }

  init(_ bytes: [UInt8], goals: [SOCKS5Handshake.Goal]) { self.init([bytes], goals: goals) }
}

/// The bytes of clients.
enum ClientBytes {
  static func greeting(_ methods: UInt8...) -> [UInt8] { [5, UInt8(methods.count)] + methods }

  static func login(_ user: [UInt8], _ password: [UInt8]) -> [UInt8] {
    [1, UInt8(user.count)] + user + [UInt8(password.count)] + password
  }

  static func login(_ user: String, _ password: String) -> [UInt8] { login(Array(user.utf8), Array(password.utf8)) }

  static func connect(v4 address: [UInt8], port: UInt16, command: UInt8 = 1) -> [UInt8] {
    [5, command, 0, 1] + address + portBytes(port)
  }

  static func connect(v6 address: [UInt8], port: UInt16) -> [UInt8] { [5, 1, 0, 4] + address + portBytes(port) }

  static func connect(name: [UInt8], port: UInt16, command: UInt8 = 1) -> [UInt8] {
    [5, command, 0, 3, UInt8(name.count)] + name + portBytes(port)
  }

  static func connect(name: String, port: UInt16) -> [UInt8] { connect(name: Array(name.utf8), port: port) }

  static func portBytes(_ port: UInt16) -> [UInt8] { [UInt8(port >> 8), UInt8(port & 0xff)] }
}

/// Repeatable randomness (SplitMix64).
struct SeededBits: RandomNumberGenerator {
  var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
