public import Pipeline
import Synchronization

/// How an exchange ended.
public enum Outcome: Sendable, Hashable, CustomStringConvertible {
  /// It waits: for the test at the end of the chain, for the clock, or for somebody else.
  case waiting
  case served(Summary)
  case refused(Rejection.Kind)
  /// It ended in an error that is no rejection.
  case failed(String)

  /// Served, with nothing moved, as the end of a harness does by itself.
  public static func served() -> Outcome { .served(Summary()) }

  init(_ error: any Error) {
    if let rejection = error as? Rejection {
      self = .refused(rejection.kind)
    } else {
      self = .failed(String(describing: error))
    }
  }

  public var description: String {
    switch self {
    case .waiting: "waiting"
    case .served(let summary) where summary == Summary(): "served"
    case .served(let summary): "served (\(summary.traffic.up) up, \(summary.traffic.down) down)"
    case .refused(let kind): "refused: \(kind.rawValue)"
    case .failed(let error): "failed: \(error)"
    }
  }
}

/// One exchange on its way through a chain under test: the `next` at the chain's end, driven by hand.
public final class ExchangeRun: Sendable {
  typealias Step = @Sendable (Exchange) async throws -> Void

  enum Event: Sendable {
    case reachedEnd, ended
  }

  private struct State {
    var outcome = Outcome.waiting
    var rejection: Rejection?
    var response: HTTPResponseHead?
    var responseBody: [UInt8] = []
    var principal: Principal?
    /// How often the chain has called its end.
    var calls = 0
    var isAtEnd = false
    var steps: [Step] = []
    var result: Result<Summary, any Error>?
    var handle: WakeHandle?
    var observer: (@Sendable (Event) -> Void)?
  }

  let id: UInt64
  let control = ConnectionControl()
  private let loop: ManualLoop
  private let automatic: (@Sendable (Exchange) async throws -> Summary)?
  private let state = Mutex(State())

  init(id: UInt64, loop: ManualLoop, end: (@Sendable (Exchange) async throws -> Summary)?) {
    self.id = id
    self.loop = loop
    automatic = end
  }

  /// How it ended, or `.waiting`.
  public var outcome: Outcome { state.withLock { $0.outcome } }

  /// The rejection that it ended in.
  public var rejection: Rejection? { state.withLock { $0.rejection } }

  /// The response head that an HTTP client got.
  public var response: HTTPResponseHead? { state.withLock { $0.response } }

  /// The response body that an HTTP client got.
  public var responseBody: [UInt8] { state.withLock { $0.responseBody } }

  /// Who it was accounted to when it ended.
  public var principal: Principal? { state.withLock { $0.principal } }

  /// How often the chain called its end so far: 0 while it has refused or still decides, 2 after a retry.
  public var calls: Int { state.withLock { $0.calls } }

  /// Whether it is at the end now, and the test decides.
  public var isAtEnd: Bool { state.withLock { $0.isAtEnd } }

  /// At the end: the exchange is served and over.
  public func finish(_ summary: Summary = Summary()) async {
    await decide(.success(summary))
  }

  /// At the end: this call of the end fails. A retry above may call it again.
  public func fail(_ error: any Error) async {
    await decide(.failure(error))
  }

  /// At the end: does something with the exchange, and stays there.
  public func perform(_ step: @escaping @Sendable (Exchange) async throws -> Void) async {
    let handle = state.withLock { state in
      precondition(state.isAtEnd, "the exchange is not at the end of its chain: \(state.outcome)")
      state.steps.append(step)
      return state.handle
    }
    handle?.wake()
    await loop.settle()
  }

  /// At the end: so many more bytes are moved, as a relay would: the meters are asked, and may cut the exchange.
  public func move(up: UInt64 = 0, down: UInt64 = 0) async {
    await perform { exchange in
      exchange.isCommitted = true
      exchange.traffic.up += up
      exchange.traffic.down += down
      _ = try exchange.renewLease()
    }
  }

  /// Ends whatever the exchange waits for, as the engine does when the client is gone or a drain cuts.
  public func cut(_ kind: Rejection.Kind = .clientGone) async {
    control.cut(kind)
    await loop.settle()
  }

  /// Until the chain has called its end, or the exchange is over, however long something foreign takes that the chain
  /// awaits in ``Exchange/bounded(_:)``.
  public func reachedEnd() async {
    await loop.settle()
    while !isAtEnd, outcome == .waiting {
      await loop.work()
      await loop.settle()
    }
  }

  /// Until it is over, however long something foreign takes that the chain awaits in ``Exchange/bounded(_:)``.
  ///
  /// - Returns: how it ended. Hangs when the exchange waits for the test.
  @discardableResult public func ended() async -> Outcome {
    await loop.settle()
    while outcome == .waiting {
      await loop.work()
      await loop.settle()
    }
    return outcome
  }

  /// Until the exchange waits for something that the test decides.
  public func settle() async { await loop.settle() }

  private func decide(_ result: Result<Summary, any Error>) async {
    let handle = state.withLock { state in
      precondition(state.isAtEnd, "the exchange is not at the end of its chain: \(state.outcome)")
      state.result = result
      return state.handle
    }
    handle?.wake()
    await loop.settle()
  }

  func observe(_ observer: @escaping @Sendable (Event) -> Void) {
    state.withLock { $0.observer = observer }
  }

  /// The end of the chain: does what the test says until it says how this call ends.
  func serve(_ exchange: Exchange) async throws -> Summary {
    let observer = state.withLock { state in
      state.calls += 1
      state.isAtEnd = true
      state.result = nil
      return state.observer
    }
    observer?(.reachedEnd)
    defer { state.withLock { $0.isAtEnd = false } }
    if let automatic { return try await automatic(exchange) }
    guard let runtime = exchange.runtime as? TestRuntime else {
      preconditionFailure("a harness runs on a TestRuntime")
    }
    while true {
      while let step = state.withLock({ $0.steps.isEmpty ? nil : $0.steps.removeFirst() }) {
        try await step(exchange)
      }
      if let result = state.withLock({ $0.result }) { return try result.get() }
      try await runtime.waitForTest { handle in
        state.withLock { $0.handle = handle }
        return true
      }
    }
  }

  func ended(_ outcome: Outcome, _ exchange: Exchange, rejection: Rejection? = nil) {
    let http = exchange as? MockHTTPExchange
    let principal = exchange.principal
    let observer = state.withLock { state in
      state.outcome = outcome
      state.rejection = rejection
      state.response = http?.response
      state.responseBody = http?.responseBody ?? []
      state.principal = principal
      return state.observer
    }
    observer?(.ended)
  }
}
