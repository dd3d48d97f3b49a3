internal import Pipeline

/// The server's half of a SOCKS5 handshake (RFC 1928 with the login of RFC 1929, CONNECT only) as a value: the client's
/// bytes and the chain's goals go in, actions come out. It knows no socket and no clock.
///
/// The chain drives it: nothing is answered before the chain has said what it wants. So the method is chosen by what
/// the branch of the chain that is taken asks for, and a limiter above an authenticator stops a client before it sends
/// a password.
///
///     while true {
///       switch handshake.advance(to: goal) { … perform the action … }
///     }
struct SOCKS5Handshake {
  /// What the chain wants.
  enum Goal {
    /// A user name and a password.
    case credentials
    /// Where the client wants to go.
    case destination
    /// To tell the client that the way is open.
    case open(bound: SocketAddress?)
    /// To send the client away.
    case refusal(Refusal)
  }

  /// How the client is sent away.
  struct Refusal {
    var reply: SOCKS5Reply
    /// Whether an authenticator took the client: a login that was good stays good, whatever is refused after it.
    var isAuthenticated: Bool
    /// Whether the rest of the handshake is awaited, so that the client gets its answer where it expects it.
    var leavesTimeToAnswer: Bool

    init(_ kind: Rejection.Kind, isAuthenticated: Bool) {
      reply = SOCKS5Reply(for: kind)
      self.isAuthenticated = isAuthenticated
      leavesTimeToAnswer = kind.leavesTimeToAnswer
    }
  }

  /// What is to be done before `advance` is called again. The last five end the way to a goal.
  enum Action {
    /// Wait for more of the client's bytes and give them to `receive`.
    case read
    /// Send this.
    case send(SOCKS5Message)
    /// What the client sent; `nil`: it does not offer to send any.
    case credentials(PasswordCredentials?)
    /// Where the client wants to go.
    case destination(Endpoint)
    /// The client knows that the way is open; what it sent already is in `takeEarlyData`.
    case opened
    /// The client breaks the protocol. Only a refusal leads on from here.
    case fault(Rejection)
    /// Everything is said: close.
    case close
  }

  private enum State {
    /// The client's greeting is awaited.
    case greeting
    /// The client's methods are known, none is chosen.
    case methods(SOCKS5Methods)
    /// Method 0x02 is chosen, user name and password are awaited.
    case login
    /// The chain has the password, the client does not know the verdict.
    case verdict
    /// The method is settled, and so is the login if there was one; the request is awaited.
    case request
    /// The request was read (or will not be awaited), the reply is owed. `nil`: only a refusal can be the reply.
    case reply(Endpoint?)
    /// The success reply is out.
    case open
    /// The last word is out, or there is none to say.
    case closed
  }

  private var state = State.greeting
  private var inbox = SOCKS5Inbox()
  /// The authenticator asked a client that does not offer a password.
  private var askedInVain = false
  private var fault: Rejection?

  init() {}

  /// Takes bytes of the client straight from where they come from: `fill` appends to a buffer that has room for at least one.
  mutating func receive<Result>(_ fill: (inout OutputRawSpan) throws -> Result) rethrows -> Result {
    try inbox.receive(fill)
  }

  /// Whatever the client sent behind its request, which is the tunnel's. Frees the buffer.
  mutating func takeEarlyData() -> [UInt8] { inbox.takeRest() }

  /// Whether the success reply is out, or on its way: the client can be told nothing else any more.
  var isOpen: Bool { if case .open = state { true } else { false } }

  /// The next step towards `goal`.
  mutating func advance(to goal: Goal) -> Action {
    if case .refusal(let refusal) = goal { return refuse(refusal) }
    if let fault { return .fault(fault) }
    switch state {
    case .greeting:
      return readGreeting() ?? advance(to: goal)
    case .methods(let offered):
      return choose(from: offered, for: goal)
    case .login:
      return readLogin()
    case .verdict:
      // The chain went on, so it took the login: a rejection would have been a refusal.
      state = .request
      return .send(.login(succeeded: true))
    case .request:
      if case .credentials = goal {
        // The method is settled, so the client cannot be asked any more.
        return .credentials(nil)
      }
      return readRequest() ?? advance(to: goal)
    case .reply(let endpoint):
      return answerRequest(for: endpoint, goal)
    case .open:
      return answerOpen(goal)
    case .closed:
      return .close
    }
  }

  // MARK: - The way to a tunnel

  /// `nil`: read, go on.
  private mutating func readGreeting() -> Action? {
    switch inbox.parse(SOCKS5Parser.greeting) {
    case .incomplete: return .read
    case .message(let offered, _):
      state = .methods(offered)
      return nil
    case .wrong(let kind, let what):
      // It does not speak SOCKS5, so no answer of ours would be understood.
      state = .closed
      return broken(kind, what)
    }
  }

  private mutating func choose(from offered: SOCKS5Methods, for goal: Goal) -> Action {
    switch goal {
    case .credentials:
      guard offered.contains(.password) else {
        askedInVain = true
        return .credentials(nil)
      }
      state = .login
      return .send(.method(.password))
    case .destination, .open:
      guard offered.contains(.none) else {
        return broken(.forbidden, "no method that the client offers fits: this chain asks for no password (method 0)")
      }
      state = .request
      return .send(.method(.none))
    case .refusal(let refusal):
      return refuse(refusal)
    }
  }

  private mutating func readLogin() -> Action {
    switch inbox.parse(SOCKS5Parser.login) {
    case .incomplete: return .read
    case .message(let credentials, _):
      state = .verdict
      return .credentials(credentials)
    case .wrong(let kind, let what):
      state = .verdict
      return broken(kind, what)
    }
  }

  /// `nil`: read, go on.
  private mutating func readRequest() -> Action? {
    switch inbox.parse(SOCKS5Parser.request) {
    case .incomplete: return .read
    case .message(let endpoint, _):
      state = .reply(endpoint)
      return nil
    case .wrong(let kind, let what):
      state = .reply(nil)
      return broken(kind, what)
    }
  }

  private mutating func answerRequest(for endpoint: Endpoint?, _ goal: Goal) -> Action {
    switch goal {
    case .credentials:
      // The method is settled, so the client cannot be asked any more.
      return .credentials(nil)
    case .destination:
      guard let endpoint else { return .close }
      return .destination(endpoint)
    case .open(let bound):
      guard endpoint != nil else { return .close }
      state = .open
      return .send(.reply(.succeeded, bound: bound))
    case .refusal(let refusal):
      return refuse(refusal)
    }
  }

  private mutating func answerOpen(_ goal: Goal) -> Action {
    switch goal {
    case .open:
      return .opened
    case .credentials, .destination, .refusal:
      // The tunnel is the client's; there is nothing more to say in SOCKS5.
      return .close
    }
  }

  private mutating func broken(_ kind: Rejection.Kind, _ what: StaticString) -> Action {
    let rejection = Rejection(kind, source: .client, retry: .pointless, detail: "SOCKS5: \(what)")
    fault = rejection
    return .fault(rejection)
  }

  // MARK: - The way out

  private mutating func refuse(_ refusal: Refusal) -> Action {
    let waits = refusal.leavesTimeToAnswer && fault == nil
    switch state {
    case .greeting:
      // Nothing can be answered before the client has said which methods it knows.
      if waits { return readGreeting().map { isFault($0) ? .close : $0 } ?? refuse(refusal) }
      return end()
    case .methods(let offered):
      let loginIsMissing = askedInVain && !refusal.isAuthenticated
      guard offered.contains(.none), !loginIsMissing else { return end(with: .method(.noneAcceptable)) }
      // Only a reply can say why, and a reply needs a method.
      state = waits ? .request : .reply(nil)
      return .send(.method(.none))
    case .login:
      // The password never came.
      return end(with: .login(succeeded: false))
    case .verdict:
      guard refusal.isAuthenticated else { return end(with: .login(succeeded: false)) }
      state = waits ? .request : .reply(nil)
      return .send(.login(succeeded: true))
    case .request:
      if waits, case .read? = readRequest() { return .read }
      // Whatever the request says, the answer stays the same.
      return end(with: .reply(refusal.reply))
    case .reply:
      return end(with: .reply(refusal.reply))
    case .open, .closed:
      // The client has heard the last word already.
      return end()
    }
  }

  private func isFault(_ action: Action) -> Bool {
    if case .fault = action { true } else { false }
  }

  private mutating func end(with message: SOCKS5Message) -> Action {
    state = .closed
    return .send(message)
  }

  private mutating func end() -> Action {
    state = .closed
    return .close
  }
}
