package cli

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolsevents "k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/controllers"
	"github.com/sinawi/sinawi/internal/controllers/events"
	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/scheduler"
	"github.com/sinawi/sinawi/lab/labtest"
	"github.com/sinawi/sinawi/lab/simnode"
)

// cluster is an API server, all controllers, the scheduler and two simulated nodes.
type cluster struct {
	kubernetes.Interface
	server *apitest.Server
}

// start brings up a cluster until the test ends.
func start(t *testing.T) *cluster {
	t.Helper()
	klog.SetLogger(logr.Discard()) // what the parts say of themselves; tests look at what they do
	ctrl.SetLogger(logr.Discard())
	server := apitest.StartWith(t, apitest.Options{NoSync: true})
	server.Config.WarningHandler = rest.NoWarnings{}
	ctx, cancel := context.WithCancel(context.Background())
	c := &cluster{Interface: server.Clientset(), server: server}
	var group errgroup.Group
	t.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil {
			t.Errorf("stop the cluster: %v", err)
		}
	})
	c.startParts(ctx, t, &group)
	nodes := simnode.New(c, simnode.Options{})
	group.Go(func() error { return nodes.Run(ctx) })
	for i := range 2 {
		if err := nodes.Add(ctx, fmt.Sprintf("node-%d", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// startParts runs controllers and scheduler as the server does.
func (c *cluster) startParts(ctx context.Context, t *testing.T, group *errgroup.Group) {
	t.Helper()
	objects, err := cache.New(c.server.Config, cache.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	writer, err := client.New(c.server.Config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	if err := controllers.Index(ctx, objects); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	broadcaster, stop := events.Start(ctx, writer, log)
	t.Cleanup(stop)
	set, err := controllers.New(loop.Deps{Client: writer, Cache: objects, Log: log}, controllers.Options{
		Config: c.server.Config, PodCIDR: netip.MustParsePrefix("10.42.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"),
		RootCA: []byte("a certificate"),
		Recorder: func(source string) record.EventRecorder {
			return broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: source})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	told := toolsevents.NewBroadcaster(&toolsevents.EventSinkImpl{Interface: c.EventsV1()})
	t.Cleanup(told.Shutdown)
	if err := told.StartRecordingToSinkWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	places := scheduler.New(writer, objects, told.NewRecorder(scheme.Scheme, corev1.DefaultSchedulerName), scheduler.Options{})
	group.Go(func() error { return objects.Start(ctx) })
	group.Go(func() error { return set.Run(ctx) })
	group.Go(func() error { return places.Run(ctx) })
}

// kubectl is the real program with a configuration and a folder of its own, in a
// namespace of its own.
type kubectl struct {
	*testing.T
	*cluster
	program   *labtest.Kubectl
	namespace string
}

// in returns a kubectl for a test, in a namespace made for it.
func (c *cluster) in(t *testing.T) *kubectl {
	t.Helper()
	ns, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "cli-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.server.Account(t.Context(), ns.Name)
	return &kubectl{T: t, cluster: c, program: labtest.NewKubectl(t, c.server.Config, ns.Name), namespace: ns.Name}
}

// command is a kubectl command that is not started yet; it ends with the test.
// Programs that the test has put into its folder are found first.
func (k *kubectl) command(env []string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(k.Context(), labtest.Patience)
	k.Cleanup(cancel)
	cmd := k.program.Command(ctx, args...)
	cmd.Env = append(cmd.Env, "PATH="+k.program.Dir+":"+os.Getenv("PATH"))
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

func (k *kubectl) try(env []string, args ...string) (string, error) {
	cmd := k.command(env, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// run runs a command that must succeed, and returns what it wrote, warnings apart.
func (k *kubectl) run(args ...string) string {
	k.Helper()
	cmd := k.command(nil, args...)
	var wrong bytes.Buffer
	cmd.Stderr = &wrong
	out, err := cmd.Output()
	if err != nil {
		k.Fatalf("kubectl %s: %v\n%s%s", strings.Join(args, " "), err, out, wrong.String())
	}
	return string(out)
}

// file writes a file into the folder that commands run in.
func (k *kubectl) file(name, content string) {
	k.Helper()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(k.program.Dir, name)), 0o700); err != nil {
		k.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(k.program.Dir, name), []byte(content), 0o700); err != nil {
		k.Fatal(err)
	}
}

func (k *kubectl) contains(got string, wanted ...string) {
	k.Helper()
	for _, w := range wanted {
		if !strings.Contains(plain(got), plain(w)) {
			k.Errorf("got:\n%s\nwant in it: %q", got, w)
		}
	}
}

// plain is text with one space where there were several: columns are as wide as
// what is in them.
func plain(text string) string { return strings.Join(strings.Fields(text), " ") }
