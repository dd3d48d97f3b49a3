internal import Pipeline

/// The connections that live on one loop. Each knows its place, so that it leaves in constant time.
///
/// Only the loop's thread touches it.
final class ConnectionList {
  private var members: [Connection] = []

  var isEmpty: Bool { members.isEmpty }
  var count: Int { members.count }

  func insert(_ connection: Connection) {
    connection.place = members.count
    members.append(connection)
  }

  func remove(_ connection: Connection) {
    let place = connection.place
    guard place >= 0, place < members.count, members[place] === connection else { return }
    let last = members.removeLast()
    if last !== connection {
      members[place] = last
      last.place = place
    }
    connection.place = -1
  }

  /// The last `count` of those in front of `end`, from the last one on. Returns where the next part ends: 0 when nothing is left.
  func forEach(before end: Int, atMost count: Int, _ body: (Connection) -> Void) -> Int {
    let end = min(end, members.count)
    let begin = max(0, end - count)
    for place in (begin..<end).reversed() { body(members[place]) }
    return begin
  }

  /// Lets the connections of `owner` go on with another handler, each as soon as nothing is under way on it.
  func handOver(_ owner: AnyObject, to successor: any ConnectionHandler) {
    for connection in members { connection.handOver(ObjectIdentifier(owner), to: successor) }
  }

  /// Lets what the connections of `owner` do come to its end; those that do nothing end at once.
  func drain(_ owner: AnyObject) {
    // A copy, as below.
    for connection in members { connection.drain(ObjectIdentifier(owner)) }
  }

  /// Ends every connection's wait, present or next, with `Rejection(.draining)`. Returns how many were cut.
  @discardableResult
  func cutAll() -> Int {
    cut { _ in true }
  }

  /// As `cutAll`, for the connections that `isMeant`.
  @discardableResult
  func cut(where isMeant: (Connection) -> Bool) -> Int {
    var count = 0
    // A copy: a connection that ends leaves the list.
    for connection in members where !connection.isCut && isMeant(connection) {
      connection.cut()
      count += 1
    }
    return count
  }
}
