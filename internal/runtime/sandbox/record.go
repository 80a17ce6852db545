package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/runtime/pidfd"
	"github.com/sinawi/sinawi/internal/runtime/sandbox/pauseinit"
)

// record is what the next runtime has to know of a sandbox.
type record struct {
	// Whole says that the sandbox was made; until then it is a note of what may have
	// been begun.
	Whole   bool      `json:"whole"`
	Created time.Time `json:"created"`
	Address string    `json:"address"`
	Netns   string    `json:"netns,omitempty"`
	Config  []byte    `json:"config"` // a PodSandboxConfig in protobuf
}

// record writes down that the sandbox is begun, or that it is whole.
func (c *Controller) record(p *pod, whole bool) error {
	config, err := proto.Marshal(p.config)
	if err != nil {
		return fmt.Errorf("record the sandbox: %w", err)
	}
	data, err := json.Marshal(record{Whole: whole, Created: p.created, Address: p.address, Netns: p.netns, Config: config})
	if err != nil {
		return fmt.Errorf("record the sandbox: %w", err)
	}
	path := filepath.Join(c.dir(p.id), "record")
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("record the sandbox: %w", err)
	}
	return os.Rename(path+".new", path)
}

// recover finds the sandboxes that have a record, and removes what others left.
func (c *Controller) recover() error {
	entries, err := os.ReadDir(c.o.Dir)
	if err != nil {
		return err
	}
	var processes map[string]*pidfd.Process
	for _, e := range entries {
		id := e.Name()
		if strings.HasPrefix(id, ".") {
			continue
		}
		if processes == nil {
			if processes, err = pauses(); err != nil {
				return err
			}
		}
		p, whole, err := c.load(id)
		if err != nil {
			return err
		}
		p.process = processes[id]
		delete(processes, id)
		if !whole {
			c.o.Log.Warn("removing a sandbox that was not finished", "sandbox", id)
			if err := c.remove(p); err != nil {
				return err
			}
			continue
		}
		c.pods[id] = p
		if p.process != nil {
			go c.watch(p)
			continue
		}
		p.endedAt = time.Now()
		close(p.ended)
	}
	for _, others := range processes {
		others.Close()
	}
	return nil
}

// load reads a record. Where there is none yet, nothing was begun.
func (c *Controller) load(id string) (p *pod, whole bool, err error) {
	p = &pod{id: id, config: &cri.PodSandboxConfig{}, ended: make(chan struct{})}
	data, err := os.ReadFile(filepath.Join(c.dir(id), "record"))
	if errors.Is(err, fs.ErrNotExist) {
		return p, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the record of sandbox %s: %w", id, err)
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, false, fmt.Errorf("read the record of sandbox %s: %w", id, err)
	}
	if err := proto.Unmarshal(r.Config, p.config); err != nil {
		return nil, false, fmt.Errorf("read the record of sandbox %s: %w", id, err)
	}
	p.netns, p.created, p.address = r.Netns, r.Created, r.Address
	return p, r.Whole, nil
}

// pauses finds the machine's pause processes by the pods they are for. Ids are 256
// random bits, so that those of other instances are never taken for ours.
func pauses() (map[string]*pidfd.Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	out := map[string]*pidfd.Process{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue // gone meanwhile
		}
		args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
		var id string
		switch {
		case len(args) == 2 && args[0] == "/pause":
			id = args[1]
		case len(args) == 3 && args[0] == pauseinit.Name:
			id = args[2]
		default:
			continue
		}
		if process, err := pidfd.Open(pid); err == nil {
			out[id] = process
		}
	}
	return out, nil
}
