/// A second upstream for an exchange whose first one takes long to answer: whoever forwards asks both then, and goes on with
/// the one that answers first.
///
/// A destination makes one for each try. Used on the exchange's loop alone.
package protocol Hedge: AnyObject {
  /// How long the first upstream is waited for before the second one is asked.
  var patience: Duration { get }

  /// The second upstream; `nil`: there is none to spare. Called at most once a try. One that was given is followed by
  /// ``decided(_:on:)``.
  func second(for exchange: Exchange) async throws -> HedgeTarget?

  /// Who has answered. Called before the answer is noted on the exchange, and once for each second that was given.
  func decided(_ winner: HedgeWinner, on exchange: Exchange)
}

/// Where a second try goes.
package struct HedgeTarget: Sendable {
  package let destination: ApprovedDestination
  package let link: UpstreamLink

  package init(_ destination: ApprovedDestination, over link: UpstreamLink) {
    self.destination = destination
    self.link = link
  }
}

package enum HedgeWinner: Sendable, Hashable {
  case first, second
  /// Neither has answered.
  case nobody
}
