import Synchronization

/// Notes what a shadowed element would have refused.
final class ShadowNotes: Sendable {
  private let all = Mutex<[String]>([])
  var notes: [String] { all.withLock { $0 } }
  func note(_ text: String) { all.withLock { $0.append(text) } }
}
