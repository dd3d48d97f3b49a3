import Glibc
import Synchronization

/// Asks for a password: at a terminal without showing it, else in the first line of standard input.
enum PasswordPrompt {
  /// 1...255 bytes: what SOCKS5 can carry (RFC 1929).
  static let syntax = "1 to 255 bytes, without NUL"

  /// - Parameters:
  ///   - name: whose it is, for the prompt.
  ///   - fromInput: `--password-stdin`: standard input is read though it may be a terminal.
  /// - Throws: ``SettingsError`` when nothing was entered, or two different ones.
  static func newPassword(of name: String, fromInput: Bool) throws -> [UInt8] {
    guard isatty(STDIN_FILENO) == 1, !fromInput else { return try checked(try readLine()) }
    let first = try checked(try ask("password of \(String(reflecting: name)): "))
    guard try ask("again: ") == first else {
      throw SettingsError("the two passwords are not the same; nothing is changed")
    }
    return first
  }

  private static func checked(_ password: [UInt8]) throws -> [UInt8] {
    // Its length is not said: it would stand in a terminal's history.
    guard (1...255).contains(password.count), !password.contains(0) else {
      throw SettingsError("the password is not allowed; allowed are \(syntax)")
    }
    return password
  }

  /// The first line of standard input, without its end.
  private static func readLine() throws -> [UInt8] {
    var line: [UInt8] = []
    var byte: UInt8 = 0
    // A password that is too long is refused by its length; the rest need not be read.
    while line.count <= 1024 {
      switch read(STDIN_FILENO, &byte, 1) {
      case 1:
        if byte == UInt8(ascii: "\n") {
          if line.last == UInt8(ascii: "\r") { line.removeLast() }
          return line
        }
        line.append(byte)
      case 0: return line
      default:
        guard errno == EINTR else {
          throw SettingsError("standard input cannot be read: \(String(cString: strerror(errno)))")
        }
      }
    }
    return line
  }

  // MARK: At a terminal

  private static func ask(_ prompt: String) throws -> [UInt8] {
    while true {
      let signals = try PromptSignals()
      var old = termios()
      guard tcgetattr(STDIN_FILENO, &old) == 0 else {
        signals.restore()
        throw SettingsError("the terminal cannot be set: \(String(cString: strerror(errno)))")
      }
      var silent = old
      silent.c_lflag &= ~tcflag_t(ECHO | ECHOE | ECHOK)
      // The end of the line is shown, so that what follows begins on its own.
      silent.c_lflag |= tcflag_t(ICANON | ISIG | ECHONL)
      // What was typed before the question is no answer to it.
      guard tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) == 0 else {
        signals.restore()
        throw SettingsError("the terminal cannot be set: \(String(cString: strerror(errno)))")
      }
      show(prompt)
      let answer = Result { try line(orSignalOf: signals) }
      // What was typed of a password that was given up must not reach the shell.
      tcsetattr(STDIN_FILENO, TCSAFLUSH, &old)
      signals.restore()
      switch try answer.get() {
      case .line(let line): return line
      case .signal(let number):
        show("\n")
        // Does what it would have done: it ends us, or stops us until the question is asked again.
        // Not SIGQUIT: a core file, or the runtime's account of a crash, could hold what was typed.
        raise(number == SIGQUIT ? SIGTERM : number)
      }
    }
  }

  private enum Answer {
    case line([UInt8])
    case signal(Int32)
  }

  private static func line(orSignalOf signals: borrowing PromptSignals) throws -> Answer {
    var line: [UInt8] = []
    while true {
      var polled = [
        pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0),
        pollfd(fd: signals.readEnd, events: Int16(POLLIN), revents: 0),
      ]
      guard poll(&polled, 2, -1) >= 0 || errno == EINTR else {
        throw SettingsError("the terminal cannot be read: \(String(cString: strerror(errno)))")
      }
      if let number = signals.received { return .signal(number) }
      guard polled[0].revents != 0 else { continue }
      var piece = [UInt8](repeating: 0, count: 1024)
      let count = read(STDIN_FILENO, &piece, piece.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else {
        throw SettingsError("the terminal cannot be read: \(String(cString: strerror(errno)))")
      }
      line += piece[..<count]
      // An end of input is the end of the line, too.
      guard count > 0, line.last != UInt8(ascii: "\n") else {
        if line.last == UInt8(ascii: "\n") { line.removeLast() }
        return .line(line)
      }
    }
  }

  /// Standard error: standard output may be a file.
  private static func show(_ text: String) {
    var text = text
    text.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }
}

/// Signals that would end or stop the program while the terminal shows nothing: turned into bytes of a pipe, which the prompt
/// watches beside the terminal.
private struct PromptSignals: ~Copyable {
  private static let numbers = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP]
  /// Where the handler writes; a handler can take nothing else with it.
  private static let target = Atomic<Int32>(-1)

  let readEnd: Int32
  private let writeEnd: Int32
  private var before: [(Int32, sigaction)] = []

  init() throws {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else {
      throw SettingsError("signals cannot be received: \(String(cString: strerror(errno)))")
    }
    for end in ends {
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
    }
    (readEnd, writeEnd) = (ends[0], ends[1])
    Self.target.store(writeEnd, ordering: .sequentiallyConsistent)
    for number in Self.numbers {
      var old = sigaction()
      sigaction(number, nil, &old)
      // Whoever started us wants it ignored (nohup).
      if old.__sigaction_handler.sa_handler.map({ unsafeBitCast($0, to: Int.self) == 1 }) ?? false { continue }
      var new = sigaction()
      new.__sigaction_handler.sa_handler = { number in
        // The program may be anywhere: only what is safe then, and errno stays as it was.
        let code = errno
        var byte = UInt8(truncatingIfNeeded: number)
        _ = write(PromptSignals.target.load(ordering: .sequentiallyConsistent), &byte, 1)
        errno = code
      }
      sigaction(number, &new, nil)
      before.append((number, old))
    }
  }

  /// The first signal that came.
  var received: Int32? {
    var byte: UInt8 = 0
    return read(readEnd, &byte, 1) == 1 ? Int32(byte) : nil
  }

  /// Gives the signals back. To be called once.
  consuming func restore() {
    for (number, old) in before {
      var old = old
      sigaction(number, &old, nil)
    }
    close(readEnd)
    close(writeEnd)
  }
}
