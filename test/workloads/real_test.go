package workloads

import (
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/lab/labtest"
)

// startReal brings up one real node with the tests' image on it.
func startReal(t *testing.T) *cluster {
	t.Helper()
	node := labtest.New(t)
	node.Up()
	node.ImportBusyBox()
	config, err := node.Config()
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{}
	return &cluster{T: t, Interface: kubernetes.NewForConfigOrDie(config), ctx: node.Ctx, config: config}
}

// busyBox makes a template one of a real container that runs the script.
func busyBox(t *corev1.PodTemplateSpec, script string) {
	main := &t.Spec.Containers[0]
	main.Image, main.ImagePullPolicy = "sinawi.local/busybox:1", corev1.PullNever
	main.Command = []string{"sh", "-c", script}
}

// ownName serves the pod's name, as the conformance tests' image does.
const ownName = "mkdir -p /tmp/www && hostname > /tmp/www/index.html && exec httpd -f -p 9376 -h /tmp/www"

func TestOnARealNode(t *testing.T) {
	c := startReal(t)
	// Conformance: [sig-apps] ReplicaSet should serve a basic image on each replica with a public image
	c.try("replica set serves", func(c *cluster) {
		set := replicaSet("web", 2)
		busyBox(&set.Spec.Template, ownName)
		c.createSet(set)
		c.serveTheirNames("web", 2)
	})
	// Conformance: [sig-apps] ReplicationController should serve a basic image on each replica with a public image
	c.try("replication controller serves", func(c *cluster) {
		t := template("web", "web:1")
		busyBox(&t, ownName)
		n := int32(2)
		rc := &corev1.ReplicationController{ObjectMeta: named("web"), Spec: corev1.ReplicationControllerSpec{Replicas: &n, Selector: t.Labels, Template: &t}}
		must[*corev1.ReplicationController](c)(c.controllers().Create(c.ctx, rc, metav1.CreateOptions{}))
		c.serveTheirNames("web", 2)
	})
	// Conformance: [sig-apps] Job should run a job to completion when tasks sometimes fail and are locally restarted
	c.try("local restarts", localRestarts)
	// Conformance: [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Should recreate evicted statefulset
	c.try("evicted", recreateEvicted)
}

// serveTheirNames asks every pod, through the API server, for its name.
func (c *cluster) serveTheirNames(app string, n int) {
	c.Helper()
	for _, pod := range c.readyPods(app, n) {
		var got string
		for c.ctx.Err() == nil && got == "" { // it listens a moment after it is ready: it has no probe
			body, err := c.CoreV1().Pods(c.namespace).ProxyGet("http", pod.Name, "9376", "/", nil).DoRaw(c.ctx)
			if err == nil {
				got = strings.TrimSpace(string(body))
			}
		}
		if got != pod.Name {
			c.Errorf("pod %s says that it is %q", pod.Name, got)
		}
	}
}

// localRestarts has containers fail at first and succeed when they are started
// again in the same pod.
func localRestarts(c *cluster) {
	j := job("batch", 3, "")
	busyBox(&j.Spec.Template, "if [ -e /data/seen ]; then exit 0; fi; touch /data/seen; exit 1")
	j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	j.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	j.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	c.createJob(j)
	j = c.ends("batch", batchv1.JobComplete, batchv1.JobReasonCompletionsReached)
	pods := must[*corev1.PodList](c)(c.CoreV1().Pods(c.namespace).List(c.ctx, metav1.ListOptions{LabelSelector: "app=batch"}))
	succeeded := 0
	for _, pod := range pods.Items {
		if pod.Status.Phase == corev1.PodSucceeded {
			succeeded++
		}
		if got := pod.Status.ContainerStatuses[0].RestartCount; got != 1 {
			c.Errorf("pod %s was restarted %d times, want 1", pod.Name, got)
		}
	}
	if succeeded != 3 || j.Status.Succeeded != 3 || j.Status.Failed != 0 {
		c.Errorf("succeeded pods: %d; counted %d, failed %d", succeeded, j.Status.Succeeded, j.Status.Failed)
	}
}

// recreateEvicted has a stateful set's pod refused by the node as long as another
// has its port, and made again until it runs.
func recreateEvicted(c *cluster) {
	const port = 21017
	t := template("first", "web:1")
	busyBox(&t, "exec sleep 100000")
	t.Spec.NodeName = "n1"
	t.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: port, HostPort: port}}
	first := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "first", Labels: t.Labels}, Spec: t.Spec}
	must[*corev1.Pod](c)(c.CoreV1().Pods(c.namespace).Create(c.ctx, first, metav1.CreateOptions{}))
	c.readyPods("first", 1)

	set := statefulSet("db", 1)
	set.Spec.Template.Spec = *t.Spec.DeepCopy()
	c.createStateful(set)
	uids := map[types.UID]bool{}
	untilAll(c, c.CoreV1().Pods(c.namespace), labels.Set{"app": "db"}, "refused and made again", func(pods []*corev1.Pod) bool {
		for _, pod := range pods {
			uids[pod.UID] = true
		}
		return len(uids) > 1
	})
	c.ok(c.CoreV1().Pods(c.namespace).Delete(c.ctx, "first", metav1.DeleteOptions{}))
	pods := c.readyPods("db", 1)
	if !slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return p.Name == "db-0" && p.Status.Phase == corev1.PodRunning }) {
		c.Error("db-0 does not run")
	}
}
