internal import Pipeline

/// What is said on a new connection before the first command: which protocol, who we are, which database.
///
/// A pure value. `HELLO 3` comes with the login (Redis 6); a server that does not know it is asked in RESP2, by `AUTH`. A
/// refused login is final: it is not tried a second time in the old way.
struct Handshake: Sendable {
  enum Action: Equatable {
    /// Send this and wait for its answer.
    case send([UInt8])
    /// The connection is ready.
    case ready(RESPVersion)
    /// It is of no use, and why.
    case fail(String)
  }

  private enum State {
    case hello, auth, select
    case over
  }

  private let user: String?
  private let password: Secret<String>?
  private let database: Int
  private var version = RESPVersion.resp3
  private var state = State.hello

  init(user: String?, password: Secret<String>?, database: Int) {
    self.user = user
    self.password = password
    self.database = database
  }

  init(_ url: RedisURL) { self.init(user: url.user, password: url.password, database: url.database) }

  /// The first thing to send.
  var opening: [UInt8] {
    guard let password else { return RedisCommand("HELLO", 3).bytes }
    return RedisCommand("HELLO", 3, "AUTH", .text(user ?? "default"), .text(password.reveal())).bytes
  }

  mutating func received(_ reply: RESPValue) -> Action {
    switch (state, reply) {
    case (.hello, .error(let error)):
      if Self.isFinal(error) { return fail("HELLO", error) }
      version = .resp2
      guard let password else { return select() }
      state = .auth
      guard let user else { return .send(RedisCommand("AUTH", .text(password.reveal())).bytes) }
      return .send(RedisCommand("AUTH", .text(user), .text(password.reveal())).bytes)
    case (.hello, let reply):
      guard reply.pairs != nil else { return fail("HELLO was answered with \(reply.kind)") }
      return select()
    case (.auth, .error(let error)): return fail("AUTH", error)
    case (.auth, .status("OK")): return select()
    case (.auth, let reply): return fail("AUTH was answered with \(reply.kind)")
    case (.select, .error(let error)): return fail("SELECT \(database)", error)
    case (.select, .status("OK")): return ready()
    case (.select, let reply): return fail("SELECT was answered with \(reply.kind)")
    case (.over, let reply): return fail("\(reply.kind) after the handshake")
    }
  }

  private mutating func select() -> Action {
    guard database != 0 else { return ready() }
    state = .select
    return .send(RedisCommand("SELECT", .integer(database)).bytes)
  }

  private mutating func ready() -> Action {
    state = .over
    return .ready(version)
  }

  private mutating func fail(_ command: String, _ error: RESPError) -> Action {
    // The code only: the rest may quote arguments, and those are secret here.
    fail("\(command) was refused: \(error.code)")
  }

  private mutating func fail(_ why: String) -> Action {
    state = .over
    return .fail(why)
  }

  /// Errors that say something about the login or the server, and not that HELLO is unknown.
  private static func isFinal(_ error: RESPError) -> Bool {
    switch error.code {
    case "WRONGPASS", "NOAUTH", "NOPERM", "LOADING", "BUSY", "MASTERDOWN": true
    default: false
    }
  }
}
