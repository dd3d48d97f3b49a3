internal import Pipeline

/// What the HTTP connections of one loop share: used on the loop's thread alone, and only between two suspensions.
final class HTTPShare {
  unowned let loop: Loop
  var ids = ExchangeIDs()
  /// Connections to upstreams that wait for the next request.
  let pool: UpstreamPool
  /// The head under construction; its capacity is kept.
  var head: [UInt8] = []
  /// Field lines of our own that go into it.
  var lines: [UInt8] = []
  private var date: [UInt8] = []
  private var dateHolds = Instant(nanoseconds: 0)
  private var complaintsLeft = 0
  private var complaintsSuppressed = 0
  private var complaintsRenewed = Instant(nanoseconds: 0)

  /// Lines of the operational log about clients that speak no HTTP, for each loop and second: whoever sends garbage must not
  /// be able to fill the disk with it.
  private static let complaintsPerSecond = 10

  init(_ loop: Loop) {
    self.loop = loop
    pool = UpstreamPool(loop)
    head.reserveCapacity(16 * 1024)
  }

  /// Appends `date: …` (RFC 9110, 6.6.1), right to the second, to `lines`.
  func appendDateLine() {
    if loop.now >= dateHolds { renewDate() }
    lines.append(contentsOf: date)
  }

  private func renewDate() {
    let time = UnixTime.systemTime
    date.removeAll(keepingCapacity: true)
    date.append("date: ")
    HTTPDate.append(time.seconds, to: &date)
    date.append("\r\n")
    dateHolds = loop.now + .nanoseconds(1_000_000_000 - Int64(time.nanoseconds))
  }

  /// Says in the operational log why a client was sent away before any chain heard of it.
  func complain(_ connection: Connection, _ exchange: Exchange, _ rejection: Rejection) {
    if loop.now >= complaintsRenewed {
      complaintsRenewed = loop.now + .seconds(1)
      complaintsLeft = Self.complaintsPerSecond
    }
    guard complaintsLeft > 0 else {
      complaintsSuppressed += 1
      return
    }
    complaintsLeft -= 1
    let (name, client, unsaid) = (exchange.listener.name, exchange.client, complaintsSuppressed)
    complaintsSuppressed = 0
    connection.log(
      .notice, "\(name): \(client): \(rejection)" + (unsaid > 0 ? " (\(unsaid) more like this were not written)" : ""))
  }
}
