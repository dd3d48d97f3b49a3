internal import Glibc
public import Pipeline

/// What the operating system knows of this process, under the names that every Prometheus client library uses.
///
/// Reads `/proc`, which blocks for some microseconds.
public final class ProcessMetrics: MetricSource {
  public init() {}

  public func collect(into page: inout MetricPage) {
    var usage = rusage()
    if getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 {
      page.add(ProcessMetric.cpu, usage.ru_utime.inSeconds + usage.ru_stime.inSeconds)
    }
    if let status = ProcessStatus.own() {
      page.add(ProcessMetric.resident, status.residentPages * sysconf(Int32(_SC_PAGESIZE)))
      page.add(ProcessMetric.virtual, status.virtualBytes)
      page.add(ProcessMetric.threads, status.threads)
      if let boot = ProcessStatus.bootTime() {
        page.add(ProcessMetric.start, boot + Double(status.startTicks) / Double(sysconf(Int32(_SC_CLK_TCK))))
      }
    }
    if let open = ProcessStatus.openDescriptors() { page.add(ProcessMetric.descriptors, open) }
    var limit = rlimit()
    if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
      page.add(ProcessMetric.maxDescriptors, limit.rlim_cur == .max ? .infinity : Double(limit.rlim_cur))
    }
  }
}

private enum ProcessMetric {
  static let cpu = Metric.counter("process_cpu_seconds_total", "User and system CPU time in seconds")
  static let resident = Metric.gauge("process_resident_memory_bytes", "Resident memory")
  static let virtual = Metric.gauge("process_virtual_memory_bytes", "Virtual memory")
  static let threads = Metric.gauge("process_threads", "Threads")
  static let start = Metric.gauge("process_start_time_seconds", "When the process began, in seconds since 1970")
  static let descriptors = Metric.gauge("process_open_fds", "Open file descriptors")
  static let maxDescriptors = Metric.gauge("process_max_fds", "File descriptors that may be open")
}

/// What `/proc/self/stat` says (proc(5)).
struct ProcessStatus: Equatable {
  var threads: Int
  /// When the process began, in clock ticks since the machine did.
  var startTicks: UInt64
  var virtualBytes: Int
  var residentPages: Int

  /// `nil` for a text that is none.
  init?(_ text: String) {
    // The program's name stands in parentheses, and may hold blanks and parentheses itself.
    guard let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    // The first of these is field 3 of the manual page.
    guard fields.count >= 22, let threads = Int(fields[17]), let start = UInt64(fields[19]),
      let virtual = Int(fields[20]), let resident = Int(fields[21])
    else { return nil }
    (self.threads, startTicks, virtualBytes, residentPages) = (threads, start, virtual, resident)
  }

  static func own() -> ProcessStatus? { contents(of: "/proc/self/stat").flatMap { ProcessStatus($0) } }

  /// Seconds since 1970.
  static func bootTime() -> Double? {
    guard let text = contents(of: "/proc/stat") else { return nil }
    let line = text.split(separator: "\n").first { $0.hasPrefix("btime ") }
    return line.flatMap { Double($0.dropFirst(6)) }
  }

  static func openDescriptors() -> Int? {
    var information = stat()
    // Since Linux 6.2 the directory's size is the number: with a million of them that is a second saved.
    if stat("/proc/self/fd", &information) == 0, information.st_size > 0 { return Int(information.st_size) }
    guard let directory = opendir("/proc/self/fd") else { return nil }
    defer { closedir(directory) }
    // `.`, `..` and the descriptor that reads.
    var count = -3
    while readdir(directory) != nil { count += 1 }
    return count
  }

  private static func contents(of path: String) -> String? {
    guard let file = fopen(path, "re") else { return nil }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 4096)
    while case let count = fread(&part, 1, part.count, file), count > 0 { bytes += part.prefix(count) }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension timeval {
  fileprivate var inSeconds: Double { Double(tv_sec) + Double(tv_usec) / 1e6 }
}
