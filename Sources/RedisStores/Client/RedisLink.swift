internal import Pipeline
internal import Synchronization

/// The connection of one loop to one server, and the commands that go over it.
///
/// Callers append to its output and queue; the link's task writes what has come together in one turn of the loop with one
/// call, and hands the answers out in the order of the commands. The lock is held for these few lines only; callers on the
/// link's own loop never meet its task there.
final class RedisLink: Sendable {
  private enum Phase {
    /// No connection yet, or a working one was just lost: commands wait for the attempt that is about to be made.
    case opening
    /// Commands go out.
    case ready
    /// The last attempt failed: commands are refused at once, with the reason.
    case down(String)
    /// Never again.
    case retired

    var isDown: Bool {
      if case .down = self { true } else { false }
    }
  }

  private struct Command {
    let reply: PendingReply?
    /// Set when it goes out.
    var deadline = Instant.distantFuture
  }

  private struct State {
    var phase = Phase.opening
    var output: [UInt8] = []
    /// Commands from `head` on are unanswered; those before `sent` have gone out.
    var queue: [Command] = []
    var head = 0
    var sent = 0
    var bell: (any LoopBell)?
    var isRung = false

    /// Drops what is answered, now and then.
    mutating func compact() {
      if head == queue.count {
        queue.removeAll(keepingCapacity: true)
        head = 0
        sent = 0
      } else if head >= 1024 {
        queue.removeFirst(head)
        sent -= head
        head = 0
      }
    }

    mutating func takeUnanswered() -> ArraySlice<Command> {
      defer {
        queue = []
        head = 0
        sent = 0
        output = []
      }
      return queue[head...]
    }
  }

  let shard: Int
  private let node: NodeHealth
  private let login: Handshake
  private let options: RedisOptions
  private let state = Mutex(State())

  init(_ node: NodeHealth, _ shard: Int, _ login: Handshake, _ options: RedisOptions) {
    self.node = node
    self.shard = shard
    self.login = login
    self.options = options
  }

  private var name: String { node.place.description }

  // MARK: What callers do

  /// Puts a command on its way.
  ///
  /// - Parameter replies: one for each command that `bytes` holds, in order; `nil` where nobody wants to know.
  /// - Throws: ``RedisError``; then none of them has been sent.
  func submit(_ bytes: [UInt8], _ replies: PendingReply?...) throws(RedisError) {
    let bell = try state.withLock { state throws(RedisError) -> (any LoopBell)? in
      switch state.phase {
      case .opening, .ready: break
      case .down(let why): throw .unreachable(node: name, why)
      case .retired: throw .unreachable(node: name, "it is in use no longer")
      }
      if state.queue.count - state.head + replies.count > options.maxPipelined {
        throw .pipelineFull(limit: options.maxPipelined)
      }
      state.output += bytes
      for reply in replies { state.queue.append(Command(reply: reply)) }
      if state.isRung { return nil }
      state.isRung = true
      return state.bell
    }
    bell?.ring()
  }

  /// Ends it for good.
  func retire() {
    let (unanswered, bell) = state.withLock { state in
      state.phase = .retired
      return (state.takeUnanswered(), state.bell)
    }
    fail(unanswered, .closed)
    bell?.ring()
  }

  private var isRetired: Bool {
    state.withLock { if case .retired = $0.phase { true } else { false } }
  }

  private func fail(_ commands: ArraySlice<Command>, _ error: RedisError) {
    for command in commands { command.reply?.fulfil(.failure(error)) }
  }

  // MARK: The task

  /// Keeps the connection until the task is cancelled or the link is retired.
  ///
  /// - Throws: `CancellationError`.
  func run(on runtime: LoopRuntime) async throws {
    guard begin(runtime.bell) else { return }
    defer { end() }
    var pause = ReconnectPause(options)
    var isDown = false
    defer { if isDown { _ = node.linkCameUp() } }
    while !isRetired {
      let failure: RedisError
      var hasAnswered = false
      do {
        let stream = try await open(runtime)
        if isDown, node.linkCameUp() { runtime.log(.notice, "redis \(name): connected again") }
        isDown = false
        failure = try await use(stream, runtime, &hasAnswered)
      } catch let error as RedisError {
        failure = error
      }
      if isRetired { break }
      // Who has answered before is asked again at once; commands wait for that.
      if hasAnswered {
        pause.reset()
        node.linkFailed()
        lose(.opening, failure)
        continue
      }
      lose(.down(Self.reason(failure)), failure)
      if isDown {
        node.linkFailed()
      } else if node.linkWentDown() {
        runtime.log(.warning, "redis \(name): \(failure); trying again")
      }
      isDown = true
      try await rest(pause.next(randomBits: runtime.randomBits()), runtime)
    }
  }

  /// Pauses before the next attempt; ends early when it is retired, or when another loop has found the server well.
  private func rest(_ pause: Duration, _ runtime: LoopRuntime) async throws {
    let again = runtime.now + pause
    node.pauses(self)
    defer { node.pausesNoMore(self) }
    while runtime.now < again, state.withLock({ $0.phase.isDown }) {
      try await runtime.wait(for: nil, writing: false, until: again)
    }
  }

  /// Another loop has an answer of the server: the next attempt is made now, and commands wait for it.
  func hurry() {
    let bell = state.withLock { state in
      if state.phase.isDown { state.phase = .opening }
      return state.bell
    }
    bell?.ring()
  }

  private static func reason(_ error: RedisError) -> String {
    switch error {
    case .unreachable(_, let why), .connectionLost(_, let why): why
    case .server, .timeout, .pipelineFull, .malformed, .cluster, .unexpectedReply, .notRunning, .closed, .cancelled:
      "\(error)"
    }
  }

  /// False when another task runs it: it was found in two ways.
  private func begin(_ bell: any LoopBell) -> Bool {
    state.withLock { state in
      if state.bell != nil { return false }
      if case .down = state.phase { state.phase = .opening }
      state.bell = bell
      return true
    }
  }

  private func end() {
    let unanswered = state.withLock { state in
      if case .retired = state.phase {} else { state.phase = .opening }
      state.bell = nil
      state.isRung = false
      return state.takeUnanswered()
    }
    fail(unanswered, .closed)
  }

  /// What was sent may have run; what was not sent has not.
  private func lose(_ phase: Phase, _ error: RedisError) {
    let (sent, unsent) = state.withLock { state -> (ArraySlice<Command>, ArraySlice<Command>) in
      if case .retired = state.phase {} else { state.phase = phase }
      state.isRung = false
      let sent = state.sent
      let all = state.takeUnanswered()
      return (all.prefix(upTo: max(sent, all.startIndex)), all.suffix(from: max(sent, all.startIndex)))
    }
    fail(sent, error)
    fail(unsent, .unreachable(node: name, Self.reason(error)))
  }

  // MARK: Connecting

  private func open(_ runtime: LoopRuntime) async throws -> any ByteStream {
    runtime.deadline = runtime.now + options.connectTimeout
    defer { runtime.deadline = .distantFuture }
    var dialled: (any ByteStream)?
    do {
      let stream = try await runtime.connect(to: try await destination(runtime), timeout: options.connectTimeout)
      dialled = stream
      try await greet(stream, runtime)
      return stream
    } catch let error {
      dialled?.abort()
      switch error {
      case is CancellationError: throw error
      case is DeadlineExceeded:
        throw RedisError.unreachable(node: name, "no connection within \(options.connectTimeout)")
      case let error as RedisError: throw error
      default: throw RedisError.unreachable(node: name, "\(error)")
      }
    }
  }

  private func destination(_ runtime: LoopRuntime) async throws -> ApprovedDestination {
    switch node.place {
    case .unix(let path): return .unixSocket(path)
    case .endpoint(let endpoint):
      let addresses: [IPAddress]
      switch endpoint.host {
      case .ip(let address): addresses = [address]
      case .name(let name): addresses = try await runtime.resolve(name)
      }
      // The operator's own word is the rule.
      return try AddressPolicy.anything.approve(endpoint, resolved: addresses)
    }
  }

  private func greet(_ stream: any ByteStream, _ runtime: LoopRuntime) async throws {
    var handshake = login
    var parser = RESPParser(options.limits)
    var outgoing = handshake.opening
    while true {
      try await runtime.write(outgoing, to: stream)
      guard let reply = try await nextReply(stream, &parser, runtime) else {
        throw RedisError.unreachable(node: name, "closed during the handshake")
      }
      switch handshake.received(reply) {
      case .send(let bytes): outgoing = bytes
      case .ready: return
      case .fail(let why): throw RedisError.unreachable(node: name, why)
      }
    }
  }

  private func nextReply(
    _ stream: any ByteStream, _ parser: inout RESPParser, _ runtime: LoopRuntime
  ) async throws -> RESPValue? {
    while true {
      do {
        while let reply = try parser.next() {
          if case .push = reply { continue }
          return reply
        }
      } catch {
        throw RedisError.malformed(error)
      }
      var received: [UInt8] = []
      guard try await runtime.read(from: stream, into: &received) else { return nil }
      parser.append(received)
    }
  }

  // MARK: Commands and answers

  /// Returns why the connection is of no use any more.
  private func use(
    _ stream: any ByteStream, _ runtime: LoopRuntime, _ hasAnswered: inout Bool
  ) async throws -> RedisError {
    defer { stream.abort() }
    state.withLock { if case .retired = $0.phase {} else { $0.phase = .ready } }
    var parser = RESPParser(options.limits)
    var outgoing: [UInt8] = []
    var written = 0
    while !isRetired {
      do {
        if written == outgoing.count {
          outgoing.removeAll(keepingCapacity: outgoing.capacity <= 256 * 1024)
          written = 0
          takeOutput(into: &outgoing, deadline: runtime.now + options.commandTimeout)
        }
        while written < outgoing.count {
          let taken = try stream.write(outgoing.span.bytes.extracting(written...))
          if taken == 0 { break }
          written += taken
        }
        let isOpen = try receive(stream, &parser)
        try answer(&parser, &hasAnswered)
        if !isOpen { return .connectionLost(node: name, "the server closed it") }
      } catch let fault as RESPFault {
        return .malformed(fault)
      } catch {
        return .connectionLost(node: name, "\(error)")
      }
      let (deadline, hasMore) = state.withLock { state in
        (state.head < state.sent ? state.queue[state.head].deadline : .distantFuture, !state.output.isEmpty)
      }
      if deadline <= runtime.now { return .timeout(options.commandTimeout) }
      if hasMore, written == outgoing.count { continue }
      try await runtime.wait(for: stream, writing: written < outgoing.count, until: deadline)
    }
    return .closed
  }

  private func takeOutput(into outgoing: inout [UInt8], deadline: Instant) {
    state.withLock { state in
      state.isRung = false
      swap(&state.output, &outgoing)
      for index in state.sent..<state.queue.count { state.queue[index].deadline = deadline }
      state.sent = state.queue.count
    }
  }

  /// Takes what is there, up to a bound, so that the others of the loop have their turn. False at the end of the stream.
  private func receive(_ stream: any ByteStream, _ parser: inout RESPParser) throws -> Bool {
    var received: [UInt8] = []
    for _ in 0..<8 {
      received.removeAll(keepingCapacity: true)
      switch try ConnectionRuntime.readNow(from: stream, into: &received) {
      case .bytes: parser.append(received)
      case .wouldBlock: return true
      case .end: return false
      }
    }
    return true
  }

  /// Hands the complete answers out.
  private func answer(_ parser: inout RESPParser, _ hasAnswered: inout Bool) throws(RESPFault) {
    while let reply = try parser.next() {
      // Nothing is subscribed to.
      if case .push = reply { continue }
      let pending = state.withLock { state -> Command? in
        guard state.head < state.sent else { return nil }
        defer { state.compact() }
        state.head += 1
        return state.queue[state.head - 1]
      }
      guard let pending else { throw .misplaced }
      // Before anybody acts on the answer.
      if !hasAnswered { node.serverAnswers() }
      hasAnswered = true
      pending.reply?.fulfil(.success(reply))
    }
  }
}
