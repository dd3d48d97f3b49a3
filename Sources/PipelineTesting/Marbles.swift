import Pipeline
import Synchronization

/// What happens to exchanges over time, one frame a character or a group: `(aaa)-a`.
///
/// In requests every letter is a client that comes in that frame, `-` is a frame in which nobody comes, and `( )` puts
/// several into one frame, in that order. In outcomes
/// - `✓` (or `o`) an exchange reached the end of the chain,
/// - `✗` (or `x`) one was refused, by a ``Rejection``,
/// - `!` one failed with another error,
/// - `|` one that had reached the end was over (only where exchanges are held there).
public struct MarbleTrace: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
  /// What happened in each frame, in order.
  public internal(set) var frames: [String]

  init(frames: [String]) { self.frames = frames }

  public init(stringLiteral text: String) { self.init(text) }

  public init(_ text: String) {
    var frames: [String] = []
    var group: String?
    for character in text where character != " " {
      switch character {
      case "(":
        precondition(group == nil, "\"\(text)\" has a group in a group")
        group = ""
      case ")":
        guard let open = group else { preconditionFailure("\"\(text)\" closes a group that is not open") }
        frames.append(open)
        group = nil
      case "-":
        precondition(group == nil, "\"\(text)\" has - in a group")
        frames.append("")
      default:
        let mark = character == "o" ? "✓" : character == "x" ? "✗" : String(character)
        if group != nil { group! += mark } else { frames.append(mark) }
      }
    }
    precondition(group == nil, "\"\(text)\" does not close its group")
    self.frames = frames
  }

  public var description: String { frames.map(Self.write).joined() }

  static func write(_ frame: String) -> String {
    switch frame.count {
    case 0: "-"
    case 1: frame
    default: "(\(frame))"
    }
  }

  /// The frame, empty beyond the end.
  subscript(_ index: Int) -> String { index < frames.count ? frames[index] : "" }

  /// Without the frames at the end in which nothing happens.
  var trimmed: [String] {
    var frames = frames
    while frames.last == "" { frames.removeLast() }
    return frames
  }
}

/// A trace that is not the expected one. Prints both under the requests, with a mark under the first difference.
public struct MarbleMismatch: Error, CustomStringConvertible, Sendable {
  public let requests: MarbleTrace
  public let expected: MarbleTrace
  public let found: MarbleTrace
  public let frame: Duration
  /// What each exchange came to, in order: `frame 0 a: refused: rateLimited`.
  public let exchanges: [String]

  public var description: String {
    let count = max(requests.frames.count, expected.frames.count, found.frames.count)
    var lines = ["requests  ", "expected  ", "found     ", "          "]
    var firstDifference: Int?
    for index in 0..<count {
      var cells = [requests[index], expected[index], found[index]].map(MarbleTrace.write)
      if firstDifference == nil, expected[index] != found[index] { firstDifference = index }
      cells.append(firstDifference == index ? "^" : "")
      let width = cells.map(\.count).max() ?? 1
      for line in lines.indices {
        lines[line] += cells[line] + String(repeating: " ", count: width - cells[line].count + 1)
      }
    }
    if let index = firstDifference {
      lines.append(
        "frame \(index), at \(frame * index): expected \(MarbleTrace.write(expected[index])), "
          + "found \(MarbleTrace.write(found[index]))")
    }
    return (["the trace is another one"] + lines + exchanges).joined(separator: "\n")
  }
}

extension ChainHarness {
  /// Plays `requests` against the chain, one frame after the other, and writes down what happened in each.
  ///
  /// - Parameters:
  ///   - frame: how long a frame is. Frame 0 is now.
  ///   - holding: how long an exchange stays at the end of the chain before it is served. Zero: it is over at once, and
  ///     no `|` is written.
  ///   - frames: how many frames are played at least.
  ///   - clients: who a letter is. Default: `a` comes from 192.0.2.1 as user "a", `b` from 192.0.2.2, and so on.
  public func trace(
    _ requests: MarbleTrace, frame: Duration = .seconds(1), holding: Duration = .zero, frames: Int = 0,
    clients: [Character: MockClient] = [:]
  ) async -> MarbleTrace {
    await play(requests, frame, holding, frames, clients).trace
  }

  /// Plays `requests` and compares what happened with `outcomes`.
  ///
  /// ```swift
  /// try await harness.expect("(aaa)-a", "(✓✓✗)-✓")
  /// ```
  ///
  /// - Throws: ``MarbleMismatch``, which shows where they differ.
  public func expect(
    _ requests: MarbleTrace, _ outcomes: MarbleTrace, frame: Duration = .seconds(1), holding: Duration = .zero,
    clients: [Character: MockClient] = [:]
  ) async throws {
    let (found, exchanges) = await play(requests, frame, holding, outcomes.frames.count, clients)
    guard found.trimmed != outcomes.trimmed else { return }
    throw MarbleMismatch(
      requests: requests, expected: outcomes, found: found, frame: frame,
      exchanges: exchanges.map { "frame \($0.frame) \($0.letter): \($0.run.outcome)" })
  }

  private func play(
    _ requests: MarbleTrace, _ frame: Duration, _ holding: Duration, _ minimum: Int,
    _ clients: [Character: MockClient]
  ) async -> (trace: MarbleTrace, exchanges: [(frame: Int, letter: Character, run: ExchangeRun)]) {
    let notes = MarbleNotes()
    var exchanges: [(frame: Int, letter: Character, run: ExchangeRun)] = []
    let start = clock.now
    for index in 0..<max(requests.frames.count, minimum) {
      notes.begin()
      clock.advance(to: start + frame * index)
      await loop.settle()
      for letter in requests[index] {
        let run = begin(clients[letter] ?? .letter(letter), 0) { exchange in
          if holding > .zero { try await exchange.sleep(for: holding) }
          return Summary(traffic: exchange.traffic)
        }
        run.observe { event in notes.add(event, of: run.id, outcome: run.outcome, isHeld: holding > .zero) }
        exchanges.append((index, letter, run))
        await loop.settle()
      }
    }
    return (MarbleTrace(frames: notes.frames), exchanges)
  }
}

private final class MarbleNotes: Sendable {
  private struct State {
    var frames: [String] = []
    var atEnd: Set<UInt64> = []
  }

  private let state = Mutex(State())

  var frames: [String] { state.withLock { $0.frames } }

  func begin() { state.withLock { $0.frames.append("") } }

  func add(_ event: ExchangeRun.Event, of run: UInt64, outcome: Outcome, isHeld: Bool) {
    state.withLock { state in
      let mark: String
      switch (event, outcome) {
      case (.reachedEnd, _):
        // An attempt after the first is the same exchange.
        mark = state.atEnd.insert(run).inserted ? "✓" : ""
      case (.ended, .served), (.ended, .waiting): mark = isHeld ? "|" : ""
      case (.ended, .refused): mark = "✗"
      case (.ended, .failed): mark = "!"
      }
      state.frames[state.frames.count - 1] += mark
    }
  }
}

extension MockClient {
  /// The client that a letter stands for: `a` comes from 192.0.2.1 as user "a", `b` from 192.0.2.2, and so on.
  public static func letter(_ letter: Character) -> MockClient {
    let offset = Int(letter.asciiValue ?? 97) - 96
    return MockClient(ip: "192.0.2.\(min(max(offset, 1), 254))", user: String(letter), password: String(letter))
  }
}
