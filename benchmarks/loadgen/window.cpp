// Implements window.hpp.
#include "window.hpp"

#include <dirent.h>
#include <time.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>

#include "workload.hpp"

namespace loadgen {

namespace {

double clock_seconds(clockid_t clock) {
  timespec time{};
  if (clock_gettime(clock, &time) != 0) {
    throw std::runtime_error("the server process is gone");
  }
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

// CPU seconds of every thread of the process, ended ones included; nanosecond resolution.
double process_cpu_seconds(pid_t pid) {
  clockid_t clock{};
  if (pid == 0) {
    return 0.0;
  }
  if (clock_getcpuclockid(pid, &clock) != 0) {
    throw std::runtime_error("no process with the id of --server-pid");
  }
  return clock_seconds(clock);
}

// The tenth field of /proc/PID/stat, all threads together. The second, the name of the program, is
// in parentheses and may hold spaces.
std::int64_t minor_faults_of(const std::string& folder) {
  constexpr int kFieldsBetween = 7;  // state, ppid, pgrp, session, tty_nr, tpgid, flags
  std::ifstream file(folder + "/stat");
  std::string text;
  std::getline(file, text);
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) {
    throw std::runtime_error("the server process is gone");
  }
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int i = 0; i < kFieldsBetween; ++i) {
    fields >> skipped;
  }
  std::int64_t faults = 0;
  fields >> faults;
  return faults;
}

void add_switches(const std::string& status, Window& window) {
  std::ifstream file(status);
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(':');
    const std::string name = line.substr(0, colon);
    if (name == "voluntary_ctxt_switches") {
      window.voluntary_switches += std::stoll(line.substr(colon + 1));
    } else if (name == "nonvoluntary_ctxt_switches") {
      window.involuntary_switches += std::stoll(line.substr(colon + 1));
    }
  }
}

// /proc/PID/status is the first thread's alone.
void add_switches_of_threads(const std::string& folder, Window& window) {
  const std::string threads = folder + "/task";
  const std::unique_ptr<DIR, int (*)(DIR*)> opened(opendir(threads.c_str()), &closedir);
  if (!opened) {
    throw std::runtime_error("the server process is gone");
  }
  while (const dirent* entry = readdir(opened.get())) {
    if (entry->d_name[0] != '.') {
      add_switches(threads + "/" + entry->d_name + "/status", window);
    }
  }
}

// Of the two lines "Tcp:" of /proc/net/snmp the first names the columns.
std::int64_t tcp_segments() {
  std::ifstream file("/proc/net/snmp");
  std::string names;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("Tcp:")) {
      continue;
    }
    if (names.empty()) {
      names = line;
      continue;
    }
    std::istringstream columns(names);
    std::istringstream values(line);
    std::int64_t sum = 0;
    for (std::string name, value; columns >> name && values >> value;) {
      sum += name == "InSegs" || name == "OutSegs" ? std::stoll(value) : 0;
    }
    return sum;
  }
  return 0;
}

void read_counters(pid_t server_pid, Window& window) {
  window.tcp_segments = tcp_segments();
  if (server_pid != 0) {
    const std::string folder = "/proc/" + std::to_string(server_pid);
    window.minor_faults = minor_faults_of(folder);
    add_switches_of_threads(folder, window);
  }
}

void read_clocks(pid_t server_pid, Window& window) {
  window.seconds = static_cast<double>(now_ns()) / 1e9;
  window.server_cpu_s = process_cpu_seconds(server_pid);
  window.client_cpu_s = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
}

}  // namespace

Window read_start(pid_t server_pid) {
  Window window;
  read_counters(server_pid, window);
  read_clocks(server_pid, window);
  return window;
}

Window read_end(pid_t server_pid) {
  Window window;
  read_clocks(server_pid, window);
  read_counters(server_pid, window);
  return window;
}

Window between(const Window& start, const Window& end) {
  return {.seconds = end.seconds - start.seconds,
          .server_cpu_s = end.server_cpu_s - start.server_cpu_s,
          .client_cpu_s = end.client_cpu_s - start.client_cpu_s,
          .minor_faults = end.minor_faults - start.minor_faults,
          .voluntary_switches = end.voluntary_switches - start.voluntary_switches,
          .involuntary_switches = end.involuntary_switches - start.involuntary_switches,
          .tcp_segments = end.tcp_segments - start.tcp_segments};
}

}  // namespace loadgen
