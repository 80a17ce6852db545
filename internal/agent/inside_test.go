package agent_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// exec runs a script in a pod's container and returns what it printed.
func (r *rig) exec(pod *corev1.Pod, container, script string) string {
	r.t.Helper()
	id := ""
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for _, s := range list {
			if s.Name == container {
				id = s.ContainerID[strings.Index(s.ContainerID, "//")+2:]
			}
		}
	}
	answer, err := r.runtime.Runtime.ExecSync(r.context(), &cri.ExecSyncRequest{ContainerId: id, Cmd: []string{"/bin/sh", "-c", script}, Timeout: 20})
	if err != nil {
		r.t.Fatalf("%q: %v", script, err)
	}
	return strings.TrimSpace(string(answer.Stdout) + string(answer.Stderr))
}

func TestWhatAContainerFinds(t *testing.T) {
	r := newRig(t)
	user, group, files := int64(1000), int64(3000), int64(4000)
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"a": "one", "b": "two"}}
	if _, err := r.admin.CoreV1().ConfigMaps(namespace).Create(r.context(), config, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	main := shell("main", "exec sleep 1000")
	main.Env = []corev1.EnvVar{
		{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
		{Name: "FROM", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Key: "a"}}},
	}
	main.VolumeMounts = []corev1.VolumeMount{
		{Name: "config", MountPath: "/config"},
		{Name: "config", MountPath: "/one", SubPath: "a"},
		{Name: "scratch", MountPath: "/scratch"},
		{Name: "token", MountPath: "/token", ReadOnly: true},
	}
	main.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi"), corev1.ResourceCPU: resource.MustParse("500m")}
	r.run("inside", corev1.PodSpec{
		Hostname: "db", Subdomain: "store",
		HostAliases:     []corev1.HostAlias{{IP: "1.2.3.4", Hostnames: []string{"alias"}}},
		SecurityContext: &corev1.PodSecurityContext{RunAsUser: &user, RunAsGroup: &group, FSGroup: &files},
		Containers:      []corev1.Container{main},
		Volumes: []corev1.Volume{
			{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}},
			{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
			}}}},
		},
	})
	pod := r.until("inside", "is ready", isReady)
	for script, want := range map[string]string{
		"hostname":                      "db",
		"cat /config/a /one":            "oneone",
		"echo $IP":                      pod.Status.PodIP,
		"echo $FROM":                    "one",
		"id -u; id -g":                  "1000\n3000",
		"id -G":                         "3000 4000",
		"stat -c %g /scratch":           "4000",
		"touch /scratch/x && echo fine": "fine",
		"grep -c nameserver\\ 10.43.0.10 /etc/resolv.conf": "1",
		"grep -o ndots:5 /etc/resolv.conf":                 "ndots:5",
		"grep db /etc/hosts":                               pod.Status.PodIP + "\tdb.store.default.svc.cluster.local\tdb",
		"grep alias /etc/hosts":                            "1.2.3.4\talias",
		"wc -c < /token/token | grep -c ..":                "1",
	} {
		if got := r.exec(pod, "main", script); got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
	// A change of the ConfigMap reaches the running pod.
	config.Data["a"] = "changed"
	if _, err := r.admin.CoreV1().ConfigMaps(namespace).Update(r.context(), config, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "the new content is there", func() (bool, string) {
		got := r.exec(pod, "main", "cat /config/a")
		return got == "changed", got
	})
	r.delete("inside")
	if left, _ := filepath.Glob(filepath.Join(r.dir, "pods", "*")); len(left) > 0 {
		t.Errorf("left of the pod: %v", left)
	}
	await(t, "nothing is left of the pod's cgroups", func() (bool, string) {
		left, _ := filepath.Glob("/sys/fs/cgroup/*" + r.runtime.CgroupParent + "/pod*")
		return len(left) == 0, strings.Join(left, " ")
	})
}

func TestClassesHaveTheirCgroups(t *testing.T) {
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil {
		t.Skip("reads the files of cgroup v1")
	}
	r := newRig(t)
	burst := shell("main", "exec sleep 1000")
	burst.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}
	burst.Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("96Mi")}
	r.run("burst", corev1.PodSpec{Containers: []corev1.Container{burst}})
	r.run("best", corev1.PodSpec{Containers: []corev1.Container{shell("main", "exec sleep 1000")}})
	b := r.until("burst", "is ready", isReady)
	e := r.until("best", "is ready", isReady)
	parent := r.runtime.CgroupParent
	for file, want := range map[string]string{
		"/sys/fs/cgroup/memory" + parent + "/burstable/pod" + string(b.UID) + "/memory.limit_in_bytes": "100663296",
		"/sys/fs/cgroup/cpu" + parent + "/burstable/pod" + string(b.UID) + "/cpu.cfs_quota_us":         "50000",
		"/sys/fs/cgroup/cpu" + parent + "/burstable/cpu.shares":                                        "256",
		"/sys/fs/cgroup/cpu" + parent + "/besteffort/cpu.shares":                                       "2",
		"/sys/fs/cgroup/cpu" + parent + "/besteffort/pod" + string(e.UID) + "/cpu.shares":              "2",
	} {
		got, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s is %q (%v), want %s", file, got, err, want)
		}
	}
	r.delete("burst")
	r.delete("best")
}

func TestHostNetworkAndHostProcesses(t *testing.T) {
	r := newRig(t)
	r.run("host", corev1.PodSpec{HostNetwork: true, HostPID: true, Containers: []corev1.Container{shell("main", "exec sleep 1000")}})
	pod := r.until("host", "is ready", isReady)
	if pod.Status.PodIP != pod.Status.HostIP {
		t.Errorf("addresses are %s and %s", pod.Status.PodIP, pod.Status.HostIP)
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if got := r.exec(pod, "main", "readlink /proc/self/ns/net"); got != own {
		t.Errorf("network namespace is %s, the node's is %s", got, own)
	}
	r.delete("host")
}

func TestEphemeralContainer(t *testing.T) {
	r := newRig(t)
	r.run("debugged", corev1.PodSpec{Containers: []corev1.Container{shell("main", "exec sleep 1000")}})
	pod := r.until("debugged", "is ready", isReady)
	look := shell("look", "exec sleep 999")
	pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, corev1.EphemeralContainer{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon(look), TargetContainerName: "main",
	})
	if _, err := r.admin.CoreV1().Pods(namespace).UpdateEphemeralContainers(r.context(), "debugged", pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod = r.until("debugged", "is looked at", func(p *corev1.Pod) bool {
		s := p.Status.EphemeralContainerStatuses
		return len(s) == 1 && s[0].State.Running != nil
	})
	if got := r.exec(pod, "look", "ps"); !strings.Contains(got, "sleep 1000") {
		t.Errorf("the target's processes are not seen:\n%s", got)
	}
	r.delete("debugged")
}

func TestALostSandboxIsMadeAnew(t *testing.T) {
	r := newRig(t)
	pod := r.run("lost", corev1.PodSpec{Containers: []corev1.Container{shell("main", "exec sleep 1000")}})
	r.until("lost", "is ready", isReady)
	boxes, err := r.runtime.Runtime.ListPodSandbox(r.context(), &cri.ListPodSandboxRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.runtime.Runtime.StopPodSandbox(r.context(), &cri.StopPodSandboxRequest{PodSandboxId: boxes.Items[0].Id}); err != nil {
		t.Fatal(err)
	}
	r.until("lost", "is ready again", func(p *corev1.Pod) bool {
		// More than one restart, if the container was seen to end before its sandbox.
		return isReady(p) && p.Status.ContainerStatuses[0].RestartCount >= 1 && p.Status.PodIP != ""
	})
	r.untilEvent(pod.UID, "SandboxChanged")
	r.delete("lost")
}

func TestAForcedEndIsShort(t *testing.T) {
	r := newRig(t)
	long := int64(3000)
	r.run("stubborn", corev1.PodSpec{TerminationGracePeriodSeconds: &long, Containers: []corev1.Container{shell("main", "trap '' TERM; while true; do sleep 0.1; done")}})
	r.until("stubborn", "is ready", isReady)
	ctx := context.Background()
	if err := r.admin.CoreV1().Pods(namespace).Delete(ctx, "stubborn", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.until("stubborn", "is being deleted", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	one := int64(1)
	if err := r.admin.CoreV1().Pods(namespace).Delete(ctx, "stubborn", metav1.DeleteOptions{GracePeriodSeconds: &one}); err != nil {
		t.Fatal(err)
	}
	await(t, "the pod is gone", func() (bool, string) {
		list, err := r.admin.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		return len(list.Items) == 0, ""
	})
}

func TestResize(t *testing.T) {
	r := newRig(t)
	sized := func(name, cpu, memory string) corev1.Container {
		c := shell(name, "exec sleep 1000")
		list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
		c.Resources = corev1.ResourceRequirements{Requests: list, Limits: list.DeepCopy()}
		return c
	}
	restarts := sized("restarts", "100m", "64Mi")
	restarts.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
	r.run("grows", corev1.PodSpec{Containers: []corev1.Container{sized("stays", "100m", "64Mi"), restarts}})
	pod := r.until("grows", "is ready", isReady)
	resizeTo := func(cpu, memory string) {
		t.Helper()
		for i := range pod.Spec.Containers {
			pod.Spec.Containers[i].Resources = sized("", cpu, memory).Resources
		}
		if _, err := r.admin.CoreV1().Pods(namespace).UpdateResize(r.context(), "grows", pod, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	resizeTo("200m", "96Mi")
	pod = r.until("grows", "has grown", func(p *corev1.Pod) bool {
		for _, s := range p.Status.ContainerStatuses {
			if s.Resources == nil || s.Resources.Limits.Memory().String() != "96Mi" || s.AllocatedResources.Cpu().String() != "200m" {
				return false
			}
		}
		return isReady(p)
	})
	if a, b := pod.Status.ContainerStatuses[0].RestartCount, pod.Status.ContainerStatuses[1].RestartCount; a != 0 || b != 1 {
		t.Errorf("restarts are %d and %d, want 0 and 1", a, b)
	}
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		id := strings.TrimPrefix(pod.Status.ContainerStatuses[0].ContainerID, "containerd://")
		file := "/sys/fs/cgroup/memory" + r.runtime.CgroupParent + "/pod" + string(pod.UID) + "/" + id + "/memory.limit_in_bytes"
		if got, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(got)) != "100663296" {
			t.Errorf("%s is %q (%v)", file, got, err)
		}
	}
	resizeTo("1000", "96Mi")
	pod = r.until("grows", "is refused", func(p *corev1.Pod) bool {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodResizePending {
				return c.Reason == corev1.PodReasonInfeasible
			}
		}
		return false
	})
	if got := pod.Status.ContainerStatuses[0].AllocatedResources.Cpu().String(); got != "200m" {
		t.Errorf("a refused pod holds %s", got)
	}
	r.delete("grows")
}
