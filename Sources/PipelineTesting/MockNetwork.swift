public import Pipeline
import Synchronization

/// Names and upstreams as a test wants them, and a record of what was asked.
public final class MockNetwork: Sendable {
  /// What a dial finds.
  public struct Dial: Sendable {
    enum Outcome: Sendable {
      case connects(MemoryPeer)
      case fails(Rejection)
      case hangs
    }
    let outcome: Outcome

    /// Connects to such a peer.
    public static func connects(to peer: MemoryPeer = .echo) -> Dial { Dial(outcome: .connects(peer)) }
    /// Fails at once.
    public static func fails(_ kind: Rejection.Kind) -> Dial { Dial(outcome: .fails(Rejection(kind))) }
    /// Never answers: it ends by the connect timeout, a deadline or a cut.
    public static let hangs = Dial(outcome: .hangs)
  }

  private struct State {
    var names: [String: [IPAddress]] = [:]
    var script: [Dial] = []
    var usual = Dial.connects()
    var dials: [ApprovedDestination] = []
    var lookups: [DomainName] = []
  }

  private let state = Mutex(State())

  public init() {}

  /// From now on `name` has these addresses.
  public func name(_ name: String, is addresses: IPAddress...) {
    state.withLock { $0.names[name.lowercased()] = addresses }
  }

  /// The next dials, in order; after them ``usually(_:)`` holds.
  public func nextDials(_ dials: Dial...) { state.withLock { $0.script += dials } }

  /// What a dial finds when no script is left. Default: an echo.
  public func usually(_ dial: Dial) { state.withLock { $0.usual = dial } }

  /// What was dialled so far.
  public var dials: [ApprovedDestination] { state.withLock { $0.dials } }

  /// What was looked up so far.
  public var lookups: [DomainName] { state.withLock { $0.lookups } }

  func dial(_ destination: ApprovedDestination) -> Dial.Outcome {
    state.withLock { state in
      state.dials.append(destination)
      return (state.script.isEmpty ? state.usual : state.script.removeFirst()).outcome
    }
  }

  func resolve(_ name: DomainName) throws -> [IPAddress] {
    let addresses = state.withLock { state in
      state.lookups.append(name)
      return state.names[name.text]
    }
    guard let addresses else { throw Rejection(.nameNotFound, detail: "\(name)") }
    return addresses
  }
}
