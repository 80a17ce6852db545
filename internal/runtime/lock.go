package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

var errRunning = errors.New("a container runtime already runs on this data directory")

// How long a runtime may take to say who it is once it has the lock.
const (
	identifyTries = 50
	identifyPause = 20 * time.Millisecond
)

func (c Config) lockPath() string { return filepath.Join(c.Root, "lock") }

// lock makes sure that one runtime at most works on c.Root, and leaves its process
// id in the lock file. The lock goes with the process, however it ends.
func (c Config) lock() (unlock func(), err error) {
	if err := os.MkdirAll(c.Root, 0o700); err != nil {
		return nil, fmt.Errorf("create the runtime's directories: %w", err)
	}
	f, err := os.OpenFile(c.lockPath(), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the runtime's directory: %w", err)
	}
	if err := tryLock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", c.Root, err)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the runtime's directory: %w", err)
	}
	return func() { f.Close() }, nil
}

func tryLock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errRunning
	}
	return err
}

// Running is the process id of the runtime that holds the lock, 0 if none does.
func (c Config) Running() (int, error) {
	f, err := os.Open(c.lockPath())
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("find the container runtime's process: %w", err)
	}
	defer f.Close()
	err = tryLock(f)
	if err == nil {
		return 0, nil
	}
	if !errors.Is(err, errRunning) {
		return 0, fmt.Errorf("find the container runtime's process: %w", err)
	}
	data := make([]byte, 20)
	n, _ := f.ReadAt(data, 0)
	for try := 0; n == 0 && try < identifyTries; try++ {
		time.Sleep(identifyPause) // it has the lock and is about to write who it is
		n, _ = f.ReadAt(data, 0)
	}
	pid, err := strconv.Atoi(string(data[:n]))
	if err != nil {
		return 0, fmt.Errorf("find the container runtime's process: %s holds no process id: %w", c.lockPath(), err)
	}
	return pid, nil
}
