package oci

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
)

// version is what `--version` says. go-runc reads the word after "runc version".
const version = "1.5.2+sinawi"

// errUsage marks a mistake in the command line itself.
var errUsage = errors.New("usage")

// global are the flags that stand before the command.
type global struct {
	root          string
	log           string
	logFormat     string
	debug         bool
	systemdCgroup bool
}

// invocation is one parsed command line.
type invocation struct {
	global
	name string
	args []string // after the command, flags included
	in   io.Reader
	out  io.Writer
}

// command runs one invocation.
type command func(invocation) error

func commands() map[string]command {
	return map[string]command{
		"create":   create,
		"start":    start,
		"state":    state,
		"kill":     kill,
		"delete":   remove,
		"exec":     execute,
		"ps":       ps,
		"events":   events,
		"update":   update,
		"pause":    pause,
		"resume":   resume,
		"features": showFeatures,
	}
}

// Main runs the command line (without the program's name) and returns the exit code.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	inv, err := parse(args)
	if err == nil && inv.name == "--version" {
		fmt.Fprintf(out, "runc version %s\nspec: %s\n", version, specs.Version)
		return 0
	}
	if err == nil {
		err = setUpLog(inv.global)
	}
	if err == nil {
		inv.in, inv.out = in, out
		err = commands()[inv.name](inv)
	}
	if err == nil {
		return 0
	}
	// The shim takes the last error of the log, a person reads standard error.
	if inv.log != "" {
		logrus.Error(err)
	}
	fmt.Fprintln(errOut, err)
	if errors.Is(err, errUsage) {
		return 64
	}
	if inv.name == "exec" {
		return 255
	}
	return 1
}

// parse splits a command line into global flags, command and the command's own
// arguments. It reads nothing but its arguments.
func parse(args []string) (invocation, error) {
	var inv invocation
	flags := newFlags("runc")
	flags.StringVar(&inv.root, "root", "/run/runc", "")
	flags.StringVar(&inv.log, "log", "", "")
	flags.StringVar(&inv.logFormat, "log-format", "text", "")
	flags.BoolVar(&inv.debug, "debug", false, "")
	flags.BoolVar(&inv.systemdCgroup, "systemd-cgroup", false, "")
	flags.String("rootless", "auto", "") // accepted; we always run as root
	showVersion := flags.Bool("version", false, "")
	if err := flags.Parse(args); err != nil {
		return inv, fmt.Errorf("%w: %w", errUsage, err)
	}
	if *showVersion {
		inv.name = "--version"
		return inv, nil
	}
	if inv.logFormat != "text" && inv.logFormat != "json" && inv.logFormat != "" {
		return inv, fmt.Errorf("%w: log format %q is neither text nor json", errUsage, inv.logFormat)
	}
	root, err := filepath.Abs(inv.root)
	if err != nil {
		return inv, fmt.Errorf("root directory: %w", err)
	}
	if root == "/" {
		return inv, fmt.Errorf("%w: --root must not be /", errUsage)
	}
	inv.root = root
	rest := flags.Args()
	if len(rest) == 0 {
		return inv, fmt.Errorf("%w: no command; one of %s", errUsage, names())
	}
	inv.name, inv.args = rest[0], rest[1:]
	if _, ok := commands()[inv.name]; !ok {
		return inv, fmt.Errorf("%w: no command %q; one of %s", errUsage, inv.name, names())
	}
	return inv, nil
}

func names() string {
	var all []string
	for name := range commands() {
		all = append(all, name)
	}
	sort.Strings(all)
	return strings.Join(all, ", ")
}

// newFlags returns a flag set that reports mistakes as errors and prints nothing.
func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

// parseID parses the command's own flags and returns the container's id and what
// follows it, of which there may be at most extra.
func (inv invocation) parseID(flags *flag.FlagSet, extra int) (string, []string, error) {
	if err := flags.Parse(inv.args); err != nil {
		return "", nil, fmt.Errorf("%w: %s: %w", errUsage, inv.name, err)
	}
	rest := flags.Args()
	if len(rest) == 0 || rest[0] == "" {
		return "", nil, fmt.Errorf("%w: %s needs a container id", errUsage, inv.name)
	}
	if len(rest) > 1+extra {
		return "", nil, fmt.Errorf("%w: %s: unexpected argument %q", errUsage, inv.name, rest[1+extra])
	}
	return rest[0], rest[1:], nil
}

// load parses "[flags] ID" and loads the container.
func (inv invocation) load(flags *flag.FlagSet) (*libcontainer.Container, error) {
	id, _, err := inv.parseID(flags, 0)
	if err != nil {
		return nil, err
	}
	return libcontainer.Load(inv.root, id)
}

func setUpLog(g global) error {
	if g.debug {
		logrus.SetLevel(logrus.DebugLevel)
	}
	if g.logFormat == "json" {
		logrus.SetFormatter(new(logrus.JSONFormatter))
	}
	if g.log == "" {
		return nil
	}
	f, err := os.OpenFile(g.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_SYNC, 0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	logrus.SetOutput(f)
	return nil
}
