package status

import "github.com/sinawi/sinawi/internal/process"

// Process looks for the process that file remembers.
func Process(name, file string) Part {
	found, err := process.Find(file)
	if err != nil {
		return Part{Name: name}
	}
	return Part{Name: name, Running: true, PID: found.PID, Memory: process.Memory(found.PID)}
}
