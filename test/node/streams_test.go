package node

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinawi/sinawi/lab/labtest"
)

// streams uses what connects a user with a container.
func streams(m *machine) {
	m.Apply(pod("web", `  containers: [{name: c, BUSYBOX, command: [sh, -c, 'mkdir /www; echo hello > /www/a; httpd -p 8080 -h /www; sleep 100000']}]`) +
		pod("reader", `  containers: [{name: c, BUSYBOX, stdin: true, command: [sh, -c, 'while read line; do echo "<$line>"; done; sleep 100000']}]`))
	m.ready("web", "reader")
	forward(m)
	copyFiles(m)
	terminal(m)
	attach(m)

	out := m.typed(strings.NewReader("one\ntwo\n"), "run", "counter", "-i", "--rm", "--image=sinawi.local/busybox:1",
		"--image-pull-policy=Never", "--restart=Never", "--", "sh", "-c", "wc -l; echo counted")
	m.Contains(out, "2\ncounted\n", `pod "counter" deleted`)
	m.Contains(m.typed(strings.NewReader("typed\n"), "exec", "-i", "web", "--", "cat"), "typed\n")

	m.Kubectl("debug", "web", "--image=sinawi.local/busybox:1", "--image-pull-policy=Never", "--container=look", "--target=c",
		"--profile=general", "--", "sh", "-c", "echo looked; wget -qO- http://127.0.0.1:8080/a; ps; sleep 100000")
	m.is("pod/web", ".status.ephemeralContainerStatuses[0].state.running.startedAt", m.startOf("look"))
	m.Eventually("a container to look around", func() string {
		out := m.Kubectl("logs", "web", "-c", "look")
		if strings.Contains(out, "looked\nhello\n") && strings.Contains(out, "httpd -p 8080") {
			return ""
		}
		return out
	})
}

// startOf waits until an ephemeral container of pod web runs.
func (m *machine) startOf(name string) string {
	m.Helper()
	at := ""
	m.Eventually(name+" runs", func() string {
		at = m.field("pod/web", `.status.ephemeralContainerStatuses[?(@.name=="`+name+`")].state.running.startedAt`)
		if at == "" {
			return m.field("pod/web", ".status.ephemeralContainerStatuses")
		}
		return ""
	})
	return at
}

// forward sends requests through a port of the machine into the pod.
func forward(m *machine) {
	cmd := m.kubectlCmd("port-forward", "pod/web", ":8080")
	out, err := cmd.StdoutPipe()
	if err != nil {
		m.Fatal(err)
	}
	var wrong bytes.Buffer
	cmd.Stderr = &wrong
	if err := m.Start(cmd); err != nil {
		m.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		m.Fatalf("port-forward: %v", err)
	}
	address, _, _ := strings.Cut(strings.TrimPrefix(line, "Forwarding from "), " ")
	if _, _, err := net.SplitHostPort(address); err != nil {
		m.Fatalf("port-forward said %q: %v", line, err)
	}
	for range 5 {
		body, err := m.get("http://" + address + "/a")
		if err != nil || body != "hello\n" {
			m.Fatalf("through a forwarded port: got %q, %v\n%s", body, err, wrong.String())
		}
	}
}

// copyFiles takes a directory into a container and back.
func copyFiles(m *machine) {
	dir := m.TempDir()
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for name, data := range map[string][]byte{"in/small": []byte("small\n"), "in/deep/big": big} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			m.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			m.Fatal(err)
		}
	}
	m.Kubectl("cp", filepath.Join(dir, "in"), "web:/tmp/there")
	m.same("a copied file", m.Kubectl("exec", "web", "--", "cat", "/tmp/there/small"), "small\n")
	m.Kubectl("cp", "web:/tmp/there", filepath.Join(dir, "back"))
	got, err := os.ReadFile(filepath.Join(dir, "back/deep/big"))
	if err != nil || !bytes.Equal(got, big) {
		m.Errorf("copied there and back: %d bytes of %d, %v", len(got), len(big), err)
	}
}

// terminal works with a shell as from a keyboard.
func terminal(m *machine) {
	ours, theirs := pseudoTerminal(m)
	defer ours.Close()
	cmd := m.kubectlCmd("exec", "-it", "web", "--", "sh")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	err := m.Start(cmd)
	theirs.Close()
	if err != nil {
		m.Fatal(err)
	}
	screen := follow(ours)
	// The answer differs from what is typed: a terminal shows both.
	m.typeUntil(ours, screen, "test -t 0 && echo is_a_$((1+1))nd_tty\n", "is_a_2nd_tty")
	m.typeUntil(ours, screen, "echo size=`stty size`\n", "size=33 101")
	m.typeUntil(ours, screen, "sleep 1000\n", "sleep 1000")
	m.typeUntil(ours, screen, "\x03echo back_$((2+1))\n", "back_3")
	if _, err := io.WriteString(ours, "exit 6\n"); err != nil {
		m.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 6 {
		m.Errorf("a shell that ended with 6: kubectl ended with %v", cmd.ProcessState)
	}
}

// attach talks with the first process of a container.
func attach(m *machine) {
	cmd := m.kubectlCmd("attach", "-i", "reader")
	in, err := cmd.StdinPipe()
	if err != nil {
		m.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		m.Fatal(err)
	}
	if err := m.Start(cmd); err != nil {
		m.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	m.typeUntil(in, follow(out), "good day\n", "<good day>")
	m.Contains(m.Kubectl("logs", "reader"), "<good day>")
}

// follow passes on what a reader gives until its end.
func follow(r io.Reader) <-chan []byte {
	lines := make(chan []byte, 1024)
	go func() {
		defer close(lines)
		for {
			buffer := make([]byte, 4096)
			n, err := r.Read(buffer)
			if n > 0 {
				lines <- buffer[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	return lines
}

// typeUntil writes keys and reads until the wanted text comes. It types them
// again now and then, as a person would: a terminal forgets what was typed
// ahead when it is interrupted.
func (m *machine) typeUntil(w io.Writer, screen <-chan []byte, keys, wanted string) {
	m.Helper()
	again := time.NewTicker(3 * time.Second)
	defer again.Stop()
	if _, err := io.WriteString(w, keys); err != nil {
		m.Fatal(err)
	}
	var seen []byte
	for timeout := time.After(labtest.Patience); !bytes.Contains(seen, []byte(wanted)); {
		select {
		case part, more := <-screen:
			if !more {
				m.Fatalf("typed %q: the end came before %q:\n%s", keys, wanted, seen)
			}
			seen = append(seen, part...)
		case <-again.C:
			if _, err := io.WriteString(w, keys); err != nil {
				m.Fatal(err)
			}
		case <-timeout:
			m.Fatalf("typed %q: %q did not come:\n%s", keys, wanted, seen)
		}
	}
}

// pseudoTerminal opens a terminal of 33 lines and 101 columns: the user's end
// and the program's.
func pseudoTerminal(m *machine) (ours, theirs *os.File) {
	m.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		m.Fatal(err)
	}
	fd := int(ours.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 101})
	}
	if err == nil {
		theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		m.Fatal(err)
	}
	return ours, theirs
}

// containerLogs reads logs in every way that kubectl has.
func containerLogs(m *machine) {
	m.Apply(pod("talker", `  containers:
  - {name: c, BUSYBOX, command: [sh, -c, 'echo "this is life $(($(cat /kept/life 2>/dev/null) + 1))"; echo $(($(cat /kept/life 2>/dev/null) + 1)) > /kept/life; i=0; until [ -e /kept/end ]; do i=$((i+1)); echo line $i; sleep 0.2; done; rm /kept/end; echo last words >&2; exit 3'], volumeMounts: [{name: kept, mountPath: /kept}]}
  - {name: other, BUSYBOX, command: [sh, -c, 'echo other voice; sleep 100000']}
  volumes: [{name: kept, emptyDir: {}}]`))
	m.ready("talker")
	cmd := m.kubectlCmd("logs", "-f", "talker", "-c", "c")
	out, err := cmd.StdoutPipe()
	if err != nil {
		m.Fatal(err)
	}
	if err := m.Start(cmd); err != nil {
		m.Fatal(err)
	}
	screen := follow(out)
	m.typeUntil(io.Discard, screen, "", "this is life 1\nline 1\n")
	m.Kubectl("exec", "talker", "-c", "other", "--", "true")
	m.Kubectl("exec", "talker", "-c", "c", "--", "touch", "/kept/end")
	m.typeUntil(io.Discard, screen, "", "last words\n")
	if err := cmd.Wait(); err != nil { // a followed log ends with its container
		m.Errorf("logs -f: %v", err)
	}
	m.is("pod/talker", `.status.containerStatuses[?(@.name=="c")].restartCount`, "1")
	m.ready("talker")
	m.same("code of the first life", m.field("pod/talker", `.status.containerStatuses[?(@.name=="c")].lastState.terminated.exitCode`), "3")
	m.Contains(m.Kubectl("logs", "talker", "-c", "c", "--previous"), "this is life 1\n", "last words\n")
	m.Contains(m.Kubectl("logs", "talker", "-c", "c"), "this is life 2\n")
	m.Contains(m.Kubectl("logs", "talker", "--all-containers", "--prefix"), "[pod/talker/other] other voice", "[pod/talker/c] this is life 2")
	m.Contains(m.Kubectl("logs", "-l", "app=talker", "-c", "other"), "other voice")
	stamped := m.Kubectl("logs", "talker", "-c", "other", "--timestamps")
	if _, err := time.Parse(time.RFC3339Nano, strings.SplitN(stamped, " ", 2)[0]); err != nil {
		m.Errorf("logs --timestamps: %q: %v", stamped, err)
	}
	m.same("logs since the future", m.Kubectl("logs", "talker", "-c", "other", "--since-time="+time.Now().Add(time.Hour).Format(time.RFC3339)), "")
	m.Contains(m.Kubectl("logs", "talker", "-c", "other", "--since=1h"), "other voice")
	m.same("the first bytes", m.Kubectl("logs", "talker", "-c", "other", "--limit-bytes=5"), "other")
	if got := m.Kubectl("logs", "talker", "-c", "c", "--tail=1"); strings.Count(got, "\n") != 1 {
		m.Errorf("logs --tail=1: got %q", got)
	}
	m.Contains(m.Denied("logs", "talker", "-c", "nobody"), "nobody")
	m.Contains(m.Denied("logs", "talker", "-c", "other", "--previous"), "previous terminated container")
	m.Contains(m.Sinawi("logs", "server", "--tail=3"), "time=")
	m.Contains(m.Sinawi("logs", "runtime", "--tail=1"), "\n")
}
