import CSQLite
import Glibc
import Middlewares
import Pipeline

/// A directory of a test's own, which goes with it.
final class TemporaryDirectory: Sendable {
  let path: String

  init() throws {
    var template = Array("/tmp/sluice-ledger-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw TestFailure(description: "mkdtemp: errno \(errno)") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    chmod(path, 0o700)
    if let directory = opendir(path) {
      while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        unlink("\(path)/\(name)")
      }
      closedir(directory)
    }
    rmdir(path)
  }

  /// A path of a file that is not there.
  func file(_ name: String = "usage.db") -> String { "\(path)/\(name)" }
}

struct TestFailure: Error, CustomStringConvertible { let description: String }

func write(_ bytes: [UInt8], to path: String) throws {
  guard let file = fopen(path, "w") else { throw TestFailure(description: "\(path): errno \(errno)") }
  defer { fclose(file) }
  guard fwrite(bytes, 1, bytes.count, file) == bytes.count else { throw TestFailure(description: "\(path): write") }
}

func permissions(of path: String) throws -> mode_t {
  var status = stat()
  guard stat(path, &status) == 0 else { throw TestFailure(description: "\(path): errno \(errno)") }
  return status.st_mode & 0o777
}

/// SQLite without anything of ours, to look at a file and to stand in the way.
final class PlainSQLite {
  private var handle: OpaquePointer?

  init(_ path: String) throws {
    guard sqlite3_open(path, &handle) == SQLITE_OK else { throw TestFailure(description: "sqlite3_open \(path)") }
  }

  deinit { sqlite3_close(handle) }

  @discardableResult func run(_ sql: String) throws -> String {
    var statement: OpaquePointer?
    guard sqlite3_prepare_v2(handle, sql, -1, &statement, nil) == SQLITE_OK else { throw failure(sql) }
    defer { sqlite3_finalize(statement) }
    var result = ""
    while true {
      switch sqlite3_step(statement) {
      case SQLITE_ROW: result = sqlite3_column_text(statement, 0).map { String(cString: $0) } ?? ""
      case SQLITE_DONE: return result
      default: throw failure(sql)
      }
    }
  }

  private func failure(_ sql: String) -> TestFailure {
    TestFailure(description: "\(sql): \(String(cString: sqlite3_errmsg(handle)))")
  }
}

/// Runs a body on a thread of its own, and waits for it without holding one of the pool.
func onThread<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
  try await withCheckedThrowingContinuation { continuation in
    let work = Unmanaged.passRetained(ThreadWork { continuation.resume(with: Swift.Result { try body() }) })
    var thread = pthread_t()
    let code = pthread_create(
      &thread, nil,
      { argument in
        Unmanaged<ThreadWork>.fromOpaque(argument!).takeRetainedValue().body()
        return nil
      }, work.toOpaque())
    precondition(code == 0, "pthread_create: \(code)")
    pthread_detach(thread)
  }
}

private final class ThreadWork: Sendable {
  let body: @Sendable () -> Void
  init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

/// CPU time of this thread, in nanoseconds.
func threadTime() -> Int {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return time.tv_sec * 1_000_000_000 + time.tv_nsec
}

let time = UnixTime(seconds: 1_795_262_430)

func identity(_ name: String) -> UsageAccount { .identity(Principal(name)) }

func batch(
  _ sequence: UInt64, _ names: [String] = ["anna"], requests: Int = 1, writer: UInt64 = 1
) -> LedgerBatch {
  var batch = LedgerBatch(writer: LedgerWriterID(high: 0, low: writer), sequence: sequence)
  batch.usage = names.map {
    LedgerUsage(
      account: identity($0), total: UsageChange(requests: requests), firstSeen: time, lastSeen: time,
      windows: [
        LedgerWindow(
          unit: .hour, start: UnixTime(seconds: time.seconds - 30), end: UnixTime(seconds: time.seconds + 3570),
          usage: UsageChange(requests: requests))
      ])
  }
  return batch
}
