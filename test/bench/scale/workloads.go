package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/lab/hollow"
	"github.com/sinawi/sinawi/test/bench/figures"
)

// bench is one server with its simulated nodes.
type bench struct {
	options
	server *server
	pods   *counter
	table  *figures.Table
	atRest float64 // share of a core that the server takes for nodes alone; 0 is unknown
}

const namespace = corev1.NamespaceDefault

// withFleet runs measure on a new server with nodes that live.
func withFleet(ctx context.Context, o options, t *figures.Table, fleet hollow.Options, measure func(context.Context, *bench) error) (err error) {
	s, err := startServer(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	b := &bench{options: o, server: s, pods: newCounter(), table: t}
	fleet.Lease, fleet.Observe = o.lease, b.pods.see
	nodes, err := hollow.New(s.config, fleet)
	if err != nil {
		return err
	}
	before := s.memory()
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- nodes.Run(running) }()
	defer func() {
		stop()
		err = errors.Join(err, <-ended)
		if n := nodes.Failed(); n > 0 {
			progress("%d writes of the nodes failed", n)
		}
	}()
	progress("registering %d nodes", fleet.Nodes)
	began := time.Now()
	if err := nodes.Register(ctx); err != nil {
		return err
	}
	registered := time.Since(began)
	if before > 0 && !fleet.Still {
		t.Add("server without nodes, PSS", megabytes(before), "")
		t.Add("nodes registered", fmt.Sprintf("%.0f /s", float64(fleet.Nodes)/registered.Seconds()), "")
	}
	if err := b.settle(ctx, nodes, fleet.Nodes); err != nil {
		return err
	}
	return measure(ctx, b)
}

// settle waits until the controllers have made all nodes fit for pods and want nothing
// more of them, and the default service account is there.
func (b *bench) settle(ctx context.Context, nodes *hollow.Fleet, want int) error {
	const told = 20                // rounds
	const quiet = 15 * time.Second // longer than nodettl waits for a cluster to have grown
	for round := 1; ; round++ {
		fit := nodes.Fit()
		_, err := b.server.client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		if err == nil && fit >= want && nodes.Quiet() > quiet {
			return nil
		}
		if round%told == 0 {
			progress("%d of %d nodes are fit for pods", fit, want)
		}
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return fmt.Errorf("wait for nodes: %d of %d are fit: %w", fit, want, err)
		}
	}
}

func workloads(ctx context.Context, o options, t *figures.Table) error {
	return withFleet(ctx, o, t, hollow.Options{Nodes: o.nodes, Still: o.still}, func(ctx context.Context, b *bench) error {
		steps := []func(context.Context) error{b.idleNodes, b.oneDeployment}
		if !o.still {
			steps = append(steps, b.rollout)
		}
		steps = append(steps, b.deleteAll, b.manyDeployments, b.deleteAll, b.barePods, b.deleteAll)
		for _, step := range steps {
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// idleNodes measures what nodes cost that do nothing but live.
func (b *bench) idleNodes(ctx context.Context) error {
	wait := b.server.profile(ctx, b.options, fmt.Sprintf("%d-idle-nodes", b.nodes))
	defer wait()
	cpu, began := b.server.cpu(), time.Now()
	if err := sleep(ctx, b.idle); err != nil {
		return err
	}
	used, took := b.server.cpu()-cpu, time.Since(began)
	share := used.Seconds() / took.Seconds()
	b.atRest = share
	b.table.Add(fmt.Sprintf("%d idle nodes, PSS", b.nodes), megabytes(b.server.memory()), "")
	b.table.Add(fmt.Sprintf("%d idle nodes, CPU", b.nodes), fmt.Sprintf("%.1f %% of a core, %.0f µs a node and second",
		100*share, 1e6*share/float64(b.nodes)), "")
	b.server.resetPeak()
	return nil
}

// measured runs create, and waits until that many more pods are bound and run.
func (b *bench) measured(ctx context.Context, what string, pods int, create func(context.Context) error) error {
	p, err := startProbe(ctx, b.server.client)
	if err != nil {
		return err
	}
	b.server.resetPeak()
	wait := b.server.profile(ctx, b.options, strings.ReplaceAll(what, " ", "-"))
	cpu, began := b.server.cpu(), time.Now()
	failed := make(chan error, 1)
	go func() { failed <- create(ctx) }()
	longest, err := b.pods.await(ctx, "all are bound", func(t tally) bool { return t.bound >= pods })
	if err != nil {
		return errors.Join(err, ctx.Err())
	}
	bound, boundCPU := time.Since(began), b.server.cpu()-cpu
	if _, err := b.pods.await(ctx, "all run", func(t tally) bool { return b.still || t.running >= pods }); err != nil {
		return err
	}
	running, all := time.Since(began), b.server.cpu()-cpu
	p.end()
	wait()
	if err := <-failed; err != nil {
		return err
	}
	if err := b.quiet(ctx); err != nil {
		return err
	}
	told := b.server.cpu() - cpu - time.Duration(b.atRest*float64(time.Since(began)))
	n := float64(pods)
	b.table.Add(what+", bound", fmt.Sprintf("%.0f /s (%.1f s, longest stand-still %.2f s)", n/bound.Seconds(), bound.Seconds(), longest.Seconds()), b.aim())
	b.table.Add(what+", server CPU to bound", fmt.Sprintf("%.2f ms a pod", 1e3*boundCPU.Seconds()/n), "")
	if !b.still {
		b.table.Add(what+", running", fmt.Sprintf("%.0f /s (%.1f s)", n/running.Seconds(), running.Seconds()), "")
		b.table.Add(what+", server CPU to running", fmt.Sprintf("%.2f ms a pod", 1e3*all.Seconds()/n), "")
	}
	b.table.Add(what+", server CPU until quiet", fmt.Sprintf("%.2f ms a pod, without what nodes cost", 1e3*told.Seconds()/n), "")
	b.latencies(what, p)
	b.table.Add(what+", server PSS", fmt.Sprintf("%s at most, %s after", megabytes(b.server.resetPeak()), megabytes(b.server.memory())), "≤ 500 MB")
	return nil
}

// quiet waits until the server does little beside what nodes ask of it: events of what
// was placed are told, caches are tidied.
func (b *bench) quiet(ctx context.Context) error {
	const (
		step   = 500 * time.Millisecond
		little = 0.1 // of a core
		most   = 2 * time.Minute
	)
	for calm, began := 0, time.Now(); calm < 4 && time.Since(began) < most; calm++ {
		cpu, from := b.server.cpu(), time.Now()
		if err := sleep(ctx, step); err != nil {
			return err
		}
		if share := (b.server.cpu() - cpu).Seconds() / time.Since(from).Seconds(); share > 1.5*b.atRest+little {
			calm = -1
		}
	}
	return nil
}

func (b *bench) aim() string {
	if b.nodes <= 1000 {
		return "≥ 2,800 /s"
	}
	return "≥ 1,400 /s"
}

func (b *bench) latencies(what string, p *probe) {
	b.table.Add(what+", API meanwhile", fmt.Sprintf("get p50 %s p99 %s, update p50 %s p99 %s (%d asked, %d failed)",
		figures.Milliseconds(figures.Percentile(p.reads, 50)), figures.Milliseconds(figures.Percentile(p.reads, 99)),
		figures.Milliseconds(figures.Percentile(p.writes, 50)), figures.Milliseconds(figures.Percentile(p.writes, 99)), len(p.reads)+len(p.writes), p.failed), "")
}

func (b *bench) oneDeployment(ctx context.Context) error {
	return b.measured(ctx, fmt.Sprintf("deployment of %d", b.options.pods), b.options.pods, func(ctx context.Context) error {
		return b.deploy(ctx, "one", b.options.pods)
	})
}

func (b *bench) manyDeployments(ctx context.Context) error {
	each := b.options.pods / b.deployments
	return b.measured(ctx, fmt.Sprintf("%d deployments of %d", b.deployments, each), each*b.deployments, func(ctx context.Context) error {
		for i := range b.deployments {
			if err := b.deploy(ctx, fmt.Sprintf("many-%d", i), each); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *bench) deploy(ctx context.Context, name string, replicas int) error {
	n, labels := int32(replicas), map[string]string{"app": name}
	_, err := b.server.client.AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec()},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create deployment %s: %w", name, err)
	}
	return nil
}

func podSpec() corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{
		Name: "web", Image: "hollow.invalid/web:1",
		Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
		Env:   []corev1.EnvVar{{Name: "MODE", Value: "bench"}},
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
		}},
	}}}
}

// rollout gives the deployment of all pods another image.
func (b *bench) rollout(ctx context.Context) error {
	const image = "hollow.invalid/web:2"
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"web","image":%q}]}}}}`, image)
	p, err := startProbe(ctx, b.server.client)
	if err != nil {
		return err
	}
	wait := b.server.profile(ctx, b.options, "rollout")
	cpu, began := b.server.cpu(), time.Now()
	if _, err := b.server.client.AppsV1().Deployments(namespace).Patch(ctx, "one", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return err
	}
	longest, err := b.pods.await(ctx, "the rollout is complete", func(t tally) bool {
		return t.images[image] >= b.options.pods && t.exist == b.options.pods
	})
	if err != nil {
		return err
	}
	took, used := time.Since(began), b.server.cpu()-cpu
	p.end()
	wait()
	what := fmt.Sprintf("rollout of %d", b.options.pods)
	b.table.Add(what, fmt.Sprintf("%.1f s, %.0f pods/s replaced, longest stand-still %.2f s, %.2f CPU-ms a pod", took.Seconds(),
		float64(b.options.pods)/took.Seconds(), longest.Seconds(), 1e3*used.Seconds()/float64(b.options.pods)), "no stall")
	b.latencies(what, p)
	b.table.Add(what+", server PSS", fmt.Sprintf("%s at most", megabytes(b.server.resetPeak())), "")
	return nil
}

// barePods creates pods without an owner, as many at once as there are creators.
func (b *bench) barePods(ctx context.Context) error {
	return b.measured(ctx, fmt.Sprintf("%d bare pods", b.options.pods), b.options.pods, func(ctx context.Context) error {
		return b.createPods(ctx, b.options.pods, func(int) *corev1.Pod {
			return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "bare-"}, Spec: podSpec()}
		})
	})
}

func (b *bench) createPods(ctx context.Context, n int, pod func(int) *corev1.Pod) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(b.creators)
	for i := range n {
		g.Go(func() error {
			_, err := b.server.client.CoreV1().Pods(namespace).Create(ctx, pod(i), metav1.CreateOptions{})
			return err
		})
	}
	return g.Wait()
}

// deleteAll deletes the deployments and waits until their pods are gone too, or deletes
// pods that nobody owns.
func (b *bench) deleteAll(ctx context.Context) error {
	b.pods.mu.Lock()
	had := b.pods.tally.exist
	b.pods.mu.Unlock()
	defer b.server.profile(ctx, b.options, fmt.Sprintf("%d deleted", had))()
	api := b.server.client
	deployed, err := api.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	cpu, began := b.server.cpu(), time.Now()
	if len(deployed.Items) > 0 {
		background := metav1.DeletePropagationBackground
		err = api.AppsV1().Deployments(namespace).DeleteCollection(ctx, metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{})
	} else {
		err = apierrors.NewTimeoutError("not asked yet", 0)
		for apierrors.IsTimeout(err) { // one request may take less than so many deletions do
			err = api.CoreV1().Pods(namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{})
		}
	}
	if err != nil {
		return err
	}
	if _, err := b.pods.await(ctx, "all are gone", func(t tally) bool { return t.exist == 0 }); err != nil {
		return err
	}
	took, used := time.Since(began), b.server.cpu()-cpu
	b.table.Add(fmt.Sprintf("%d pods deleted", had), fmt.Sprintf("%.0f /s, %.2f CPU-ms of the server each", float64(had)/took.Seconds(), 1e3*used.Seconds()/float64(had)), "")
	return nil
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.0f MB", float64(bytes)/1e6) }

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
