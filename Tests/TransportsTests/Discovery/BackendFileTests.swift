import Pipeline
import Testing

@testable import Transports

@Suite struct BackendFileTests {
  @discardableResult private func read(_ text: String) throws -> [Backend] {
    try BackendFile(Array(text.utf8), path: "/b").backends
  }

  @Test func eachLineIsABackendWithItsOptions() throws {
    let text =
      "# the web\r\n10.0.0.1:80\n\n  [::1]:81\tweight=3 # heavy\nweb.test:82 name=blue max=20 queue=5 priority=1\nunix:/run/x\n"
    let expected = [
      Backend("10.0.0.1:80"), Backend("[::1]:81", weight: 3),
      Backend("web.test:82", named: "blue", priority: 1, maxConnections: 20, queue: 5), Backend("unix:/run/x"),
    ]
    let backends = try read(text)
    #expect(backends.count == expected.count)
    #expect(zip(backends, expected).allSatisfy { $0.isSameLine(as: $1) })
  }

  @Test func aMistakeIsSaidWithItsLineAndNothingIsUsed() {
    let cases: [(String, String)] = [
      ("", "/b: it names no backend: write host:port, a line each"),
      ("# nothing\n", "/b: it names no backend: write host:port, a line each"),
      (
        "a:1\nb\n",
        #"/b:2: "b" is no address: write host:port, 1.2.3.4:port, [::1]:port or unix:/path"#
      ),
      (
        "a:1 wieght=2",
        #"/b:1: "wieght=2" is no option: weight=N, priority=N, name=TEXT, max=N and queue=N are allowed"#
      ),
      ("a:1 weight", #"/b:1: "weight" is no option: weight=N, priority=N, name=TEXT, max=N and queue=N are allowed"#),
      ("a:1 weight=2 weight=3", "/b:1: weight is given twice"),
      ("a:1 weight=2.5", "/b:1: weight=2.5: write a whole number"),
      ("a:1 weight=0", "/b:1: a:1 has a weight of 0: 1 to 10,000 are allowed"),
      ("a:1\na:1", "/b:2: a:1 stands in line 1 already: give this one a name of its own (name=TEXT)"),
    ]
    for (text, sentence) in cases {
      let error = #expect(throws: BackendFileError.self) { try read(text) }
      #expect(error?.description == sentence)
    }
    let error = #expect(throws: BackendFileError.self) { try BackendFile([0xff, 0x0a], path: "/b") }
    #expect(error?.description == "/b: it is no UTF-8 text")
  }

  // MARK: When it is read

  private func stamp(_ seconds: Int64, size: Int64 = 1) -> FileStamp {
    FileStamp(size: size, seconds: seconds, nanoseconds: 0, inode: 1, device: 1)
  }

  private func read(_ watch: inout FileWatch, _ seconds: Int64) -> Bool { watch.hasRead(stamp(seconds)) }

  @Test func aFileIsReadAtOnceAndThenWhenAChangeHasSettled() {
    var watch = FileWatch()
    #expect(watch.look(.there(stamp(1))) == .read)
    #expect(watch.look(.there(stamp(1))) == .read, "it was not read yet")
    #expect(read(&watch, 1) == true)
    #expect(watch.look(.there(stamp(1))) == .nothing)
    // Somebody writes: three looks see three sizes.
    #expect(watch.look(.there(stamp(2, size: 10))) == .nothing)
    #expect(watch.look(.there(stamp(2, size: 20))) == .nothing)
    #expect(watch.look(.there(stamp(2, size: 20))) == .read)
    #expect(read(&watch, 3) == false, "it changed once more before it was read")
    #expect(watch.look(.there(stamp(3))) == .nothing)
    #expect(watch.look(.there(stamp(3))) == .read)
    #expect(read(&watch, 3) == true)
    #expect(watch.look(.there(stamp(3))) == .nothing)
  }

  @Test func aFileThatIsGoneIsComplainedOfOnce() {
    var watch = FileWatch()
    _ = watch.look(.there(stamp(1)))
    _ = watch.hasRead(stamp(1))
    #expect(watch.look(.not("gone")) == .complain("gone"))
    #expect(watch.look(.not("gone")) == .nothing)
    #expect(watch.look(.not("forbidden")) == .complain("forbidden"))
    // The same file is there again: nothing has changed.
    #expect(watch.look(.there(stamp(1))) == .nothing)
    #expect(watch.look(.not("gone")) == .complain("gone"))
  }
}
