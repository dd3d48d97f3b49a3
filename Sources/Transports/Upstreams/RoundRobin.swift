public import Pipeline
internal import Synchronization

/// Takes the upstreams in turn, one exchange each: `to: { RoundRobin("10.0.0.1:80", "10.0.0.2:80") }`.
///
/// Every attempt is a turn of its own, so a `Retry` above goes to the next one. It knows nothing of their health: one that is
/// down costs a failed dial each time that it is its turn. A client is refused with what `Upstream` refuses with.
public struct RoundRobin: Destination {
  private final class Turn: Sendable {
    let next = Atomic<UInt64>(0)
  }

  private let upstreams: [Upstream]
  private let turn = Turn()

  /// - Parameter upstreams: one or more; an app with none does not start.
  public init(_ upstreams: [Upstream]) { self.upstreams = upstreams }

  /// - Parameter addresses: as `Upstream` reads them.
  public init(_ addresses: String...) { self.init(addresses.map { Upstream($0) }) }

  public var parameters: [Parameter] {
    [Parameter("to", upstreams.flatMap { $0.parameters }.map(\.value).joined(separator: ", "))]
  }

  public func validate(into problems: inout Problems) {
    if upstreams.isEmpty { problems.refuse("it has no upstream: name one or more") }
    for upstream in upstreams { upstream.validate(into: &problems) }
  }

  public func serve(_ exchange: Exchange) async throws -> Summary {
    let turn = turn.next.add(1, ordering: .relaxed).oldValue
    return try await upstreams[Int(turn % UInt64(upstreams.count))].serve(exchange)
  }
}
