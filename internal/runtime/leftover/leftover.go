// Package leftover answers what containerd asks the shim's file for whenever its
// connection about a container has ended: to remove what the shim left, and to say how
// the container ended. Mostly the connection ended because the container was removed,
// and nothing is left; a container is only then said to have ended when this is
// answered, so that the answer has to come fast.
//
// Where anything is left the package does nothing: removing it is the shim's own work.
package leftover

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// killed is the exit code of a container of which nothing else is known.
const killed = 128 + 9

// Answer returns what to print if args are the question and nothing is left.
func Answer(args []string, now time.Time) (response []byte, ok bool) {
	if len(args) == 0 || args[len(args)-1] != "delete" {
		return nil, false
	}
	bundle, namespace := value(args, "-bundle"), value(args, "-namespace")
	if bundle == "" || namespace == "" || !nothingIn(bundle, namespace) {
		return nil, false
	}
	end := exit{Status: killed, Timestamp: now}
	data, err := os.ReadFile(filepath.Join(bundle, "exit.json"))
	if err == nil {
		err = json.Unmarshal(data, &end)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	return end.encode(), true
}

func value(args []string, flag string) string {
	i := slices.Index(args, flag)
	if i < 0 || i+1 >= len(args) {
		return ""
	}
	return args[i+1]
}

// nothingIn reports whether the container of a bundle has neither a state in the OCI
// runtime nor a mounted root. What cannot be told counts as something.
func nothingIn(bundle, namespace string) bool {
	var options struct {
		Root string `json:"root"`
	}
	data, err := os.ReadFile(filepath.Join(bundle, "options.json"))
	if err != nil || json.Unmarshal(data, &options) != nil || options.Root == "" {
		return false
	}
	if _, err := os.Lstat(filepath.Join(options.Root, namespace, filepath.Base(bundle))); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	return err == nil && !bytes.Contains(mounts, []byte(filepath.Join(bundle, "rootfs")))
}

// exit is how a container ended, as the shim writes it down.
type exit struct {
	Timestamp time.Time
	Pid       int
	Status    int
}

// encode writes containerd's DeleteResponse: pid = 1, exit_status = 2, exited_at = 3
// with seconds = 1 and nanos = 2, in protobuf's wire format.
func (e exit) encode() []byte {
	var at, out []byte
	at = number(at, 1, uint64(e.Timestamp.Unix()))
	at = number(at, 2, uint64(e.Timestamp.Nanosecond()))
	out = number(out, 1, uint64(e.Pid))
	out = number(out, 2, uint64(e.Status))
	out = append(out, 3<<3|2)
	out = binary.AppendUvarint(out, uint64(len(at)))
	return append(out, at...)
}

// number appends a field of varint type; protobuf leaves out zeros.
func number(to []byte, field byte, n uint64) []byte {
	if n == 0 {
		return to
	}
	return binary.AppendUvarint(append(to, field<<3), n)
}
