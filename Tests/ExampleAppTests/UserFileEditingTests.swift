import Glibc
import Middlewares
import Pipeline
import ScryptPasswords
import Testing

@testable import ExampleApp

/// A directory of the test's own, removed at its end.
final class Scratch {
  let path: String

  init() throws {
    var template = Array("/tmp/sluice-test-XXXXXX".utf8CString)
    path = try #require(mkdtemp(&template).map { String(cString: $0) })
  }

  deinit {
    for name in (try? list()) ?? [] { unlink("\(path)/\(name)") }
    rmdir(path)
  }

  func list() throws -> [String] {
    let directory = try #require(opendir(path))
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  func write(_ text: String, to name: String, mode: mode_t = 0o600) throws {
    let file = open("\(path)/\(name)", O_CREAT | O_WRONLY | O_TRUNC, mode)
    try #require(file >= 0)
    defer { close(file) }
    try #require(fchmod(file, mode) == 0)
    try #require(Glibc.write(file, text, text.utf8.count) == text.utf8.count)
  }

  func mode(of name: String) -> mode_t {
    var status = stat()
    return stat("\(path)/\(name)", &status) == 0 ? status.st_mode & 0o777 : 0
  }
}

@Suite struct UserFileEditingTests {
  private let hash = PasswordHash("$scrypt$ln=4,r=8,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")

  private func user(_ name: String, isBlocked: Bool = false) -> UserTable.User {
    UserTable.User(name: name, passwordHash: hash, isBlocked: isBlocked)
  }

  @Test func aChangeKeepsCommentsOrderAndEndsOfLines() {
    let line = hash.text.reveal()
    let text = "# first\r\nann:\(line)\r\n\n  bob:\(line):x \n#ann:no\ncat:\(line)"
    #expect(
      UserFile.text(text, setting: user("bob", isBlocked: true))
        == "# first\r\nann:\(line)\r\n\nbob:!\(line)\n#ann:no\ncat:\(line)")
    #expect(
      UserFile.text(text, setting: user("dan"))
        == "# first\r\nann:\(line)\r\n\n  bob:\(line):x \n#ann:no\ncat:\(line)\ndan:\(line)\n")
    #expect(UserFile.text(text, removing: "ann") == "# first\r\n\n  bob:\(line):x \n#ann:no\ncat:\(line)")
    #expect(UserFile.text(text, removing: "cat") == "# first\r\nann:\(line)\r\n\n  bob:\(line):x \n#ann:no\n")
    #expect(UserFile.text(text, removing: "an") == nil)
    #expect(UserFile.text("", setting: user("ann")) == "ann:\(line)\n")
    #expect(UserFile.text("# only\n", setting: user("ann")) == "# only\nann:\(line)\n")
  }

  @Test func twoSpellingsOfOneAccentAreTwoNames() {
    let text = "é:\(hash.text.reveal())\n"
    #expect(UserFile.text(text, removing: "e\u{301}") == nil)
    #expect(UserFile.text(text, removing: "\u{e9}") == "")
  }

  @Test func aFileIsReplacedAsAWholeAndStaysPrivate() throws {
    let scratch = try Scratch()
    let path = "\(scratch.path)/users"
    #expect(try PrivateFile.replace(path, place: "--users", makesFile: true) { old in old + "a\n" })
    #expect(try PrivateFile.replace(path, place: "--users", makesFile: false) { old in old + "b\n" })
    #expect(try PrivateFile.read(path, place: "--users") == "a\nb\n")
    #expect(scratch.mode(of: "users") == 0o600)
    // The lock stays, and nothing else.
    #expect(try scratch.list() == ["users", "users.lock"])
    #expect(try !PrivateFile.replace(path, place: "--users", makesFile: false) { _ in nil })
  }

  @Test func anEditThatFailsChangesNothing() throws {
    let scratch = try Scratch()
    let path = "\(scratch.path)/users"
    try scratch.write("a\n", to: "users")
    #expect(throws: UsersError.self) {
      _ = try PrivateFile.replace(path, place: "--users", makesFile: false) { _ in throw UsersError("no") }
    }
    #expect(try PrivateFile.read(path, place: "--users") == "a\n")
    #expect(try scratch.list() == ["users", "users.lock"])
  }

  @Test func aFileThatOthersCanReadIsNotEdited() throws {
    let scratch = try Scratch()
    let path = "\(scratch.path)/users"
    try scratch.write("a\n", to: "users", mode: 0o604)
    let error = #expect(throws: SettingsError.self) {
      _ = try PrivateFile.replace(path, place: "--users", makesFile: true) { $0 }
    }
    #expect(
      error?.description
        == "--users: \(path) has mode 0604, so others can read it; allowed is 0600: chmod 600 \(path)")
  }

  @Test func aLinkStaysALinkAndItsFileIsReplaced() throws {
    let scratch = try Scratch()
    try scratch.write("a\n", to: "real")
    try #require(symlink("real", "\(scratch.path)/link") == 0)
    _ = try PrivateFile.replace("\(scratch.path)/link", place: "--users", makesFile: false) { $0 + "b\n" }
    #expect(try PrivateFile.read("\(scratch.path)/real", place: "--users") == "a\nb\n")
    var status = stat()
    #expect(lstat("\(scratch.path)/link", &status) == 0 && status.st_mode & S_IFMT == S_IFLNK)
  }

  @Test func aMissingFileIsMadeOnlyWhereThatWasAskedFor() throws {
    let scratch = try Scratch()
    let path = "\(scratch.path)/users"
    let error = #expect(throws: SettingsError.self) {
      _ = try PrivateFile.replace(path, place: "--users", makesFile: false) { $0 }
    }
    #expect(error?.description == "--users: \(path) cannot be read: No such file or directory")
  }
}
