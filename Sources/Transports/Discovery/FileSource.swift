internal import Pipeline

/// A file whose lines are the backends.
///
/// It is looked at once an interval instead of being watched by the kernel: inotify is silent on network file systems, and on the
/// links by which orchestrators swap a mounted file it reports the link and not the file. A look is one `fstat` on the offload pool.
struct FileSource: Sendable {
  static let sizeLimit = 1 << 20

  let path: String
  let interval: Duration

  var problems: [String] {
    var problems: [String] = []
    if path.isEmpty { problems.append("file: an empty path") }
    if interval <= .zero { problems.append("file \(path): an interval of \(interval): more than 0 seconds is allowed") }
    guard problems.isEmpty else { return problems }
    // At the start a mistake is better said than waited out.
    do {
      let contents = try FileContents.read(path, atMost: Self.sizeLimit)
      _ = try BackendFile(contents.bytes, path: path)
    } catch {
      problems.append("\(error)")
    }
    return problems
  }

  func run(_ services: any BackgroundServices, publish: @escaping BackendSource.Publish) async throws {
    var watch = FileWatch()
    let path = path
    while true {
      let look: FileWatch.Look
      do {
        look = .there(try await services.offload { try FileContents.stamp(of: path) })
      } catch let error as CancellationError {
        throw error
      } catch {
        look = .not("\(error)")
      }
      switch watch.look(look) {
      case .nothing: break
      case .complain(let why): services.log(.warning, "\(why); the last list stays")
      case .read:
        do {
          let contents = try await services.offload { try FileContents.read(path, atMost: Self.sizeLimit) }
          // It changed between the look and the read: the next look sees that, and nothing half written is taken.
          if watch.hasRead(contents.stamp) {
            let backends = try BackendFile(contents.bytes, path: path).backends
            try publish(backends)
            services.log(.notice, "\(path): read, with \(backends.count) backends")
          }
        } catch let error as CancellationError {
          throw error
        } catch {
          services.log(.warning, "\(error); the last list stays")
        }
      }
      try await services.sleep(for: interval)
    }
  }
}

/// When a file is read, as a pure value: when it is there for the first time, and when it has changed and stayed so for one
/// interval. Who writes in place is not caught in the middle of it unless he rests for that long.
struct FileWatch: Sendable {
  enum Look: Sendable, Hashable {
    case there(FileStamp)
    /// It cannot be looked at, and why.
    case not(String)
  }

  enum Action: Sendable, Hashable {
    case nothing
    case read
    case complain(String)
  }

  private var read: FileStamp?
  private var lastSeen: FileStamp?
  private var complaint: String?

  mutating func look(_ look: Look) -> Action {
    switch look {
    case .not(let why):
      lastSeen = nil
      if complaint == why { return .nothing }
      complaint = why
      return .complain(why)
    case .there(let stamp):
      complaint = nil
      defer { lastSeen = stamp }
      if stamp == read { return .nothing }
      return read == nil || stamp == lastSeen ? .read : .nothing
    }
  }

  /// It was read, as what this says. False: it is not what was looked at.
  mutating func hasRead(_ stamp: FileStamp) -> Bool {
    guard stamp == lastSeen else { return false }
    read = stamp
    return true
  }
}
