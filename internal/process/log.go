package process

import "os"

// LogSize is how long a log is now; 0 where there is none yet.
func LogSize(file string) int64 {
	info, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return info.Size()
}

// LogSince returns what was written to a log after it was as long as from. It is
// for an error message about a process that has ended: what cannot be read is "".
func LogSince(file string, from int64) string {
	data, err := os.ReadFile(file)
	if err != nil || from > int64(len(data)) {
		return ""
	}
	return string(data[from:])
}
