import Glibc
import Pipeline
import PipelineTesting
import Testing

@testable import Transports

/// A directory that is gone when the test is over.
private final class Scratch: Sendable {
  let path: String

  init() throws {
    var template = Array("/tmp/sluice-log-XXXXXX".utf8CString)
    path = try template.withUnsafeMutableBufferPointer { buffer in
      guard let made = mkdtemp(buffer.baseAddress!) else { throw SystemError("mkdtemp", errno) }
      return String(cString: made)
    }
  }

  deinit {
    for name in ["log", "log.1"] { unlink("\(path)/\(name)") }
    rmdir(path)
  }

  func lines(_ name: String = "log") throws -> [String] {
    let descriptor = open("\(path)/\(name)", O_RDONLY)
    guard descriptor >= 0 else { throw SystemError("open", errno) }
    defer { close(descriptor) }
    return readLines(descriptor)
  }
}

/// Reads until the end.
private func readLines(_ descriptor: Int32) -> [String] {
  var all: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 65_536)
  while true {
    let count = read(descriptor, &chunk, chunk.count)
    guard count > 0 else { break }
    all += chunk[..<count]
  }
  return String(decoding: all, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false).dropLast().map {
    String($0)
  }
}

/// A pipe whose ends are closed once.
private final class Pipe: Sendable {
  let reading: Int32
  let writing: Int32

  init() throws {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw SystemError("pipe", errno) }
    reading = ends[0]
    writing = ends[1]
  }
}

extension LogWriter {
  @discardableResult fileprivate func append(_ text: String, shard: Int = 0) -> Bool {
    let bytes = Array(text.utf8)
    return append(bytes.span.bytes, shard: shard)
  }
}

private func small(_ notice: LogWriter.Options.Notice = .text) -> LogWriter.Options {
  var options = LogWriter.Options()
  options.bytesPerLoop = 4096
  options.notice = notice
  return options
}

/// How many lines the reports among `lines` speak of.
private func reported(_ lines: [String]) -> Int {
  lines.compactMap { $0.hasSuffix(" lines dropped") ? Int($0.dropLast(14)) : nil }.reduce(0, +)
}

@Suite struct LogWriterTests {
  @Test func appendsLinesInTheirOrder() throws {
    let scratch = try Scratch()
    for round in 0..<2 {
      let log = try LogWriter(appendingTo: scratch.path + "/log")
      for number in 0..<500 { #expect(log.append("line \(round * 500 + number)")) }
      #expect(log.stop(within: .seconds(10)))
      #expect(log.dropped == 0)
    }
    #expect(try scratch.lines() == (0..<1000).map { "line \($0)" })
  }

  @Test func linesOfManyThreadsStayWholeAndInTheirOrder() async throws {
    let scratch = try Scratch()
    let log = try LogWriter(appendingTo: scratch.path + "/log")
    let taken = await withTaskGroup(of: Int.self) { group in
      for shard in 0..<4 {
        group.addTask { (0..<5000).count { log.append("\(shard) \($0)", shard: shard) } }
      }
      return await group.reduce(0, +)
    }
    #expect(log.stop(within: .seconds(10)))
    let lines = try scratch.lines()
    #expect(taken == 20_000 && lines.count == 20_000)
    for shard in 0..<4 {
      let mine = lines.filter { $0.hasPrefix("\(shard) ") }.compactMap { Int($0.dropFirst(2)) }
      #expect(mine == Array(0..<5000))
    }
  }

  @Test func aPipeThatNobodyReadsCostsLinesAndNoTime() async throws {
    let pipe = try Pipe()
    let log = LogWriter(descriptor: pipe.writing, options: small())
    // Far more than the pipe and the buffers hold; nobody reads yet.
    let text = String(repeating: "x", count: 99)
    let taken = (0..<20_000).count { _ in log.append(text) }
    #expect(taken < 20_000)
    #expect(log.dropped == 20_000 - taken)
    // Both block, so neither may take one of the few threads that tests share.
    let read = Mailbox<[String]>()
    let reading = pipe.reading
    detachedThread { read.put(readLines(reading)) }
    let isWritten = try await onThread { log.stop(within: .seconds(10)) }
    #expect(isWritten)
    close(pipe.writing)
    let lines = await read.next() ?? []
    close(pipe.reading)
    #expect(lines.count { $0 == text } == taken)
    #expect(reported(lines) == 20_000 - taken)
    #expect(lines.allSatisfy { $0 == text || $0.hasSuffix(" lines dropped") })
  }

  @Test func stoppingDoesNotWaitForAReaderForEver() throws {
    let pipe = try Pipe()
    let log = LogWriter(descriptor: pipe.writing, options: small())
    for _ in 0..<20_000 { log.append(String(repeating: "x", count: 99)) }
    let clock = ContinuousClock()
    let before = clock.now
    #expect(!log.stop(within: .milliseconds(50)))
    #expect(clock.now - before < .seconds(5))
    // The thread gives up by itself; until then the descriptor must not become another file's.
    #expect(!log.awaitRound())
    close(pipe.reading)
    close(pipe.writing)
  }

  @Test func aReaderThatWentAwayEndsNothingButTheLog() throws {
    let pipe = try Pipe()
    close(pipe.reading)
    let log = LogWriter(descriptor: pipe.writing)
    log.append("into the void")
    #expect(!log.stop(within: .seconds(10)))
    #expect(log.dropped == 1)
    #expect(log.lastError == "write: Broken pipe")
    close(pipe.writing)
  }

  @Test func aFullDiskEndsNothingButTheLog() throws {
    let log = try LogWriter(appendingTo: "/dev/full")
    for _ in 0..<3 { log.append("too much") }
    #expect(!log.stop(within: .seconds(10)))
    #expect(log.dropped == 3)
    #expect(log.lastError == "write: No space left on device")
  }

  @Test func reopeningSplitsTheLogBetweenTheOldFileAndTheNew() throws {
    let scratch = try Scratch()
    let log = try LogWriter(appendingTo: scratch.path + "/log")
    log.append("before")
    rename(scratch.path + "/log", scratch.path + "/log.1")
    log.reopen()
    #expect(log.awaitRound())
    log.append("after")
    #expect(log.stop(within: .seconds(10)))
    #expect(try scratch.lines("log.1") == ["before"])
    #expect(try scratch.lines("log") == ["after"])
  }

  @Test func aFileThatCannotBeReopenedIsKept() throws {
    let scratch = try Scratch()
    let log = try LogWriter(appendingTo: scratch.path + "/log")
    rename(scratch.path + "/log", scratch.path + "/log.1")
    mkdir(scratch.path + "/log", 0o700)
    log.reopen()
    log.append("still here")
    #expect(log.stop(within: .seconds(10)))
    #expect(log.lastError == "open: Is a directory")
    rmdir(scratch.path + "/log")
    #expect(try scratch.lines("log.1") == ["still here"])
  }

  @Test func aPathThatCannotBeOpenedIsNamed() {
    #expect(throws: LogWriterError(path: "/nowhere/log", reason: "No such file or directory")) {
      try LogWriter(appendingTo: "/nowhere/log")
    }
  }

  @Test func droppedLinesAreReportedInTheFormatOfTheLog() async throws {
    let pipe = try Pipe()
    let log = LogWriter(descriptor: pipe.writing, options: small(.json))
    #expect(!log.append(String(repeating: "x", count: 5000)))
    log.append("{}")
    #expect(log.stop(within: .seconds(10)))
    close(pipe.writing)
    #expect(Set(readLines(pipe.reading)) == ["{\"dropped\":1}", "{}"])
    close(pipe.reading)
  }

  @Test func whatComesAfterTheStopIsDropped() throws {
    let scratch = try Scratch()
    let log = try LogWriter(appendingTo: scratch.path + "/log")
    #expect(log.stop(within: .seconds(10)))
    #expect(!log.append("late"))
    #expect(log.dropped == 1)
    #expect(try scratch.lines() == [])
  }

  @Test func aFileThatIsMadeIsNotReadableByOthers() throws {
    let scratch = try Scratch()
    let log = try LogWriter(appendingTo: scratch.path + "/log")
    #expect(log.stop(within: .seconds(10)))
    var status = stat()
    #expect(stat(scratch.path + "/log", &status) == 0)
    #expect(status.st_mode & 0o007 == 0)
  }
}

@Suite struct OperationalLogTests {
  private let clock = WallClock { UnixTime(seconds: 0, nanoseconds: 5_000_000) }

  @Test func writesTheLevelsThatItIsToldTo() {
    let sink = LogRecorder()
    let log = OperationalLog(to: sink, from: .notice, clock: clock)
    log.write(.info, "no")
    log.write(.notice, "ready")
    log.write(.error, "address in use: 127.0.0.1:80")
    #expect(
      sink.text == [
        "1970-01-01T00:00:00.005Z notice ready",
        "1970-01-01T00:00:00.005Z error \"address in use: 127.0.0.1:80\"",
      ])
    #expect(!log.writes(.info) && log.writes(.warning))
  }

  @Test func aMessageCannotForgeALine() {
    let sink = LogRecorder()
    let log = OperationalLog(to: sink, clock: clock)
    log.write(.warning, "bad name \"x\"\n1970-01-01T00:00:00.000Z notice all is well")
    #expect(
      sink.text == [
        #"1970-01-01T00:00:00.005Z warning "bad name \"x\"\n1970-01-01T00:00:00.000Z notice all is well""#
      ])
  }
}
