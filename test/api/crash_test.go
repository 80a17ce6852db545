package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

// crashDir in the environment makes TestCrashServer a server over that
// directory, in a process that can be killed.
const crashDir = "SINAWI_TEST_CRASH_DIR"

func TestCrashServer(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("runs only as the child of TestAcknowledgedWritesOutliveAKill")
	}
	s := apitest.StartWith(t, apitest.Options{Dir: dir})
	data, err := json.Marshal(map[string]any{
		"host": s.Config.Host, "ca": s.Config.CAData, "cert": s.Config.CertData, "key": s.Config.KeyData,
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "client.json")
	if err := errors.Join(os.WriteFile(file+".new", data, 0o600), os.Rename(file+".new", file)); err != nil {
		t.Fatal(err)
	}
	<-t.Context().Done() // the parent kills
}

// child is a server in a process of its own.
type child struct {
	cmd    *exec.Cmd
	client kubernetes.Interface
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	file := filepath.Join(dir, "client.json")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	c := &child{cmd: exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashServer$", "-test.timeout=10m")}
	c.cmd.Env = append(os.Environ(), crashDir+"="+dir)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		data, err := os.ReadFile(file)
		if err == nil {
			var about struct {
				Host          string
				CA, Cert, Key []byte
			}
			if err := json.Unmarshal(data, &about); err != nil {
				t.Fatal(err)
			}
			c.client = kubernetes.NewForConfigOrDie(&rest.Config{
				Host: about.Host, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: about.CA, CertData: about.Cert, KeyData: about.Key},
			})
			return c
		}
		if time.Now().After(deadline) {
			t.Fatal("the server in the child is not ready within a minute")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait() // says that it was killed
}

// ledger is what the server has acknowledged.
type ledger struct {
	mu     sync.Mutex
	values map[string]string // guarded by mu
}

func (l *ledger) write(ctx context.Context, c kubernetes.Interface, writer, round int) {
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("w%d-%d", writer, i%20)
		value := fmt.Sprintf("%d/%d", round, i)
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"v": value}}
		api := c.CoreV1().ConfigMaps(namespace)
		_, err := api.Update(ctx, cm, metav1.UpdateOptions{})
		if err != nil {
			_, err = api.Create(ctx, cm, metav1.CreateOptions{})
		}
		l.mu.Lock()
		if err == nil {
			l.values[name] = value
		} else {
			// It may or may not have been written: nothing is known of it.
			delete(l.values, name)
		}
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func TestAcknowledgedWritesOutliveAKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := &ledger{values: map[string]string{}}
	const rounds, writers, enough = 3, 4, 60
	for round := range rounds {
		c := startChild(t, dir)
		verify(t, c, acknowledged)
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() { acknowledged.write(ctx, c.client, w, round) })
		}
		for acknowledged.size() < enough && t.Context().Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
		c.kill(t)
		cancel()
		group.Wait()
	}
	c := startChild(t, dir)
	defer c.kill(t)
	verify(t, c, acknowledged)
}

func (l *ledger) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.values)
}

func verify(t *testing.T, c *child, l *ledger) {
	t.Helper()
	list, err := c.client.CoreV1().ConfigMaps(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, cm := range list.Items {
		got[cm.Name] = cm.Data["v"]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, want := range l.values {
		if got[name] != want {
			t.Errorf("%s is %q after the kill, %q was acknowledged", name, got[name], want)
		}
	}
}
