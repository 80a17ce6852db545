package workloads

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"

	"github.com/sinawi/sinawi/internal/instance"
	"github.com/sinawi/sinawi/lab"
	"github.com/sinawi/sinawi/lab/simnode"
)

const (
	// killsVariable and seedVariable, in the environment, say how often the
	// server is killed and which moments are drawn.
	killsVariable = "SINAWI_TEST_KILLS"
	seedVariable  = "SINAWI_TEST_SEED"
	fewKills      = 15
	// checkEvery is after how many kills all must have come to rest.
	checkEvery = 5
	// longestLife bounds how long a server lives until it is killed.
	longestLife = 1500 * time.Millisecond
)

func fromEnvironment(t *testing.T, name string, otherwise int64) int64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestFaults kills the server at random moments, again and again, while all
// kinds of workloads are rolled out, scaled and run to their ends. Nothing may be
// doubled, nothing lost, and all comes to what was asked for last.
func TestFaults(t *testing.T) {
	kills := int(fromEnvironment(t, killsVariable, fewKills))
	seed := fromEnvironment(t, seedVariable, time.Now().UnixNano())
	t.Logf("%d kills with seed %d; repeat with %s=%d %s=%d", kills, seed, killsVariable, kills, seedVariable, seed)
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	f := &faults{victim: newVictim(t), ledger: newLedger(), random: random}
	f.victim.start()
	f.connect(t)
	f.make()
	f.rest()
	f.ledger.watchLevels(map[string]int{"web": 5, "db": 2, "cache": 3, "agent": daemonNodes - 1, "plain": 2, "old": 2})
	for i := range kills {
		f.stir(i)
		life := time.Duration(random.Int64N(int64(longestLife)))
		time.Sleep(life) // the moment of the kill is what is drawn
		f.victim.kill()
		f.victim.start()
		if (i+1)%checkEvery == 0 || i == kills-1 {
			f.rest()
		}
		if t.Failed() {
			t.Fatalf("after kill %d, %v after the server was ready", i+1, life)
		}
	}
	t.Logf("%d kills: %s", kills, f.ledger.summary())
}

// faults is one run of the test.
type faults struct {
	*cluster
	victim *victim
	ledger *ledger
	random *rand.Rand
	round  int
	jobs   []string // names, those without indexes and with
}

// victim is the server, in a process of its own: the real binary, with all parts
// but the agent.
type victim struct {
	*testing.T
	program string
	dir     instance.Dir
	port    int
	cmd     *exec.Cmd
	out     *os.File
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	program, err := lab.FindProgram()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{T: t, program: program, dir: instance.Dir(t.TempDir()), port: listener.Addr().(*net.TCPAddr).Port}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if v.out, err = os.CreateTemp(t.TempDir(), "server"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		v.kill()
		if t.Failed() {
			v.tell()
		}
	})
	return v
}

// tell shows the end of what the server has logged.
func (v *victim) tell() {
	data, err := os.ReadFile(v.out.Name())
	if err != nil {
		return
	}
	lines := strings.Split(string(data), "\n")
	v.Logf("the server's last words:\n%s", strings.Join(lines[max(0, len(lines)-60):], "\n"))
}

// start returns when the server says that it is ready.
func (v *victim) start() {
	v.Helper()
	progress, theirs, err := os.Pipe()
	if err != nil {
		v.Fatal(err)
	}
	defer progress.Close()
	v.cmd = exec.Command(v.program, "server", "--disable=agent", "--data-dir="+string(v.dir), "--node-ip=127.0.0.1",
		"--node-name=victim", "--api-port="+strconv.Itoa(v.port), "--events-fd=3")
	v.cmd.Stdout, v.cmd.Stderr = v.out, v.out
	v.cmd.ExtraFiles = []*os.File{theirs}
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = v.cmd.Start()
	theirs.Close()
	if err != nil {
		v.Fatal(err)
	}
	if err := progress.SetReadDeadline(time.Now().Add(patience)); err != nil {
		v.Fatal(err)
	}
	for lines := bufio.NewScanner(progress); lines.Scan(); {
		if strings.Contains(lines.Text(), `"ready"`) {
			return
		}
	}
	v.Fatal("the server does not become ready")
}

func (v *victim) kill() {
	if v.cmd == nil {
		return
	}
	_ = v.cmd.Process.Kill()
	_ = v.cmd.Wait() // says that it was killed
	v.cmd = nil
}

func (v *victim) config() *rest.Config {
	v.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", v.dir.Kubeconfig())
	if err != nil {
		v.Fatal(err)
	}
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{}
	return config
}

// connect runs the nodes, which outlive the server, and makes a namespace.
func (f *faults) connect(t *testing.T) {
	t.Helper()
	config := f.victim.config()
	ctx, cancel := context.WithCancel(context.Background())
	c := &cluster{T: t, Interface: kubernetes.NewForConfigOrDie(config), ctx: ctx, config: config}
	c.nodes = simnode.New(c.Interface, simnode.Options{Stop: 100 * time.Millisecond, Seen: f.ledger.seen})
	done := make(chan error, 1)
	go func() { done <- c.nodes.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for i := range daemonNodes {
		c.ok(c.nodes.Add(ctx, fmt.Sprintf("node-%d", i), nil))
	}
	_, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "faults"}}, metav1.CreateOptions{})
	c.ok(err)
	c.namespace = "faults"
	f.cluster = c
	accounts := c.CoreV1().ServiceAccounts(c.namespace)
	until(c, accounts, "default", "made", func(*corev1.ServiceAccount) bool { return true })
}

// make makes one workload of each kind.
func (f *faults) make() {
	d := deployment("web", 6)
	d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: ptr.To(intstr.FromInt32(2)), MaxUnavailable: ptr.To(intstr.FromInt32(1))}
	f.createDeployment(d)
	f.createStateful(statefulSet("db", 3))
	parallel := statefulSet("cache", 4)
	parallel.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	f.createStateful(parallel)
	f.createDaemons(daemonSet("agent"))
	f.createSet(replicaSet("plain", 2))
	f.createController("old", 2)
	cron := cronJob("cron", everyMinute, batchv1.AllowConcurrent)
	cron.Spec.SuccessfulJobsHistoryLimit = ptr.To[int32](100)
	cron.Spec.JobTemplate.Spec.Template.Annotations[simnode.Exit] = "0"
	f.createCron(cron)
}

// stir asks for something new of everything.
func (f *faults) stir(i int) {
	f.round = i + 1
	image := fmt.Sprintf("example.com/round:%d", f.round)
	change(f.cluster, f.deployments(), "web", func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image })
	for _, name := range []string{"db", "cache"} {
		f.changeStateful(name, func(s *appsv1.StatefulSetSpec) { s.Template.Spec.Containers[0].Image = image })
	}
	change(f.cluster, f.daemonSets(), "agent", func(s *appsv1.DaemonSet) { s.Spec.Template.Spec.Containers[0].Image = image })
	size := int32(2 + f.random.IntN(4))
	change(f.cluster, f.replicaSets(), "plain", func(s *appsv1.ReplicaSet) { s.Spec.Replicas = &size })
	change(f.cluster, f.controllers(), "old", func(s *corev1.ReplicationController) { s.Spec.Replicas = &size })
	plain := job(fmt.Sprintf("plain-%d", f.round), 6, "0")
	indexed := indexedJob(fmt.Sprintf("indexed-%d", f.round), 5, "0", map[int]string{3: "1,0"})
	indexed.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	for _, j := range []*batchv1.Job{plain, indexed} {
		j.Spec.Template.Annotations[simnode.After] = "150ms"
		f.createJob(j)
		f.jobs = append(f.jobs, j.Name)
	}
}

// rest waits until everything is as it was asked for last, and checks what has
// been counted.
func (f *faults) rest() {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.ctx, patience)
	defer cancel()
	own := *f.cluster
	own.ctx = ctx
	c := &own
	c.rolledOut("web")
	c.updated("db")
	c.updated("cache")
	c.counted("agent", daemonNodes)
	until(c, c.replicaSets(), "plain", "of its size", func(s *appsv1.ReplicaSet) bool {
		return s.Status.ObservedGeneration == s.Generation && s.Status.ReadyReplicas == *s.Spec.Replicas && s.Status.Replicas == *s.Spec.Replicas
	})
	until(c, c.controllers(), "old", "of its size", func(s *corev1.ReplicationController) bool {
		return s.Status.ObservedGeneration == s.Generation && s.Status.ReadyReplicas == *s.Spec.Replicas && s.Status.Replicas == *s.Spec.Replicas
	})
	for _, name := range f.jobs {
		c.checkJob(name, f.ledger)
	}
	f.jobs = nil
	c.checkLeftovers()
	for _, wrong := range f.ledger.takeWrongs() {
		f.Error(wrong)
	}
}

// checkJob checks that a job has ended with every completion once.
func (c *cluster) checkJob(name string, l *ledger) {
	c.Helper()
	j := c.ends(name, batchv1.JobComplete, batchv1.JobReasonCompletionsReached)
	want := *j.Spec.Completions
	if j.Status.Succeeded != want || j.Status.Failed != 0 {
		c.Errorf("job %s: counted %d succeeded and %d failed, want %d and 0", name, j.Status.Succeeded, j.Status.Failed, want)
	}
	byIndex := l.successes(name)
	total := 0
	for index, n := range byIndex {
		total += n
		if index != "" && n != 1 {
			c.Errorf("job %s: index %s succeeded %d times", name, index, n)
		}
	}
	if total != int(want) {
		c.Errorf("job %s: its pods succeeded %d times, want %d", name, total, want)
	}
	for index := range want {
		if j.Spec.CompletionMode != nil && *j.Spec.CompletionMode == batchv1.IndexedCompletion && byIndex[strconv.Itoa(int(index))] == 0 {
			c.Errorf("job %s: index %d never succeeded", name, index)
		}
	}
}

// checkLeftovers waits until no pod is stuck on its way out, and checks that all
// others are somebody's.
func (c *cluster) checkLeftovers() {
	c.Helper()
	pods := untilAll(c, c.CoreV1().Pods(c.namespace), labels.Set{}, "no pod on its way", func(pods []*corev1.Pod) bool {
		for _, pod := range pods {
			if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodPending || pod.Labels[batchv1.JobNameLabel] != "" && pod.Status.Phase == corev1.PodRunning {
				return false
			}
		}
		return true
	})
	for _, pod := range pods {
		if metav1.GetControllerOf(pod) == nil {
			c.Errorf("pod %s is nobody's", pod.Name)
		}
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if ended && len(pod.Finalizers) > 0 && c.jobEnded(pod) {
			c.Errorf("pod %s has ended and keeps %v", pod.Name, pod.Finalizers)
		}
	}
}

// jobEnded says whether the pod's job has been counted to its end.
func (c *cluster) jobEnded(pod *corev1.Pod) bool {
	j, err := c.jobs().Get(c.ctx, pod.Labels[batchv1.JobNameLabel], metav1.GetOptions{})
	return apierrors.IsNotFound(err) || err == nil && jobCondition(j, batchv1.JobComplete) != nil
}
