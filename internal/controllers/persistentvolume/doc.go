// Package persistentvolume binds claims to volumes: it finds the smallest volume
// that satisfies a claim, ties the two together, asks an external provisioner for
// what is not there, and says what becomes of a volume whose claim is gone.
//
// Rules and wording follow upstream's persistent volume binder. A binding is made in
// four writes, each safe to repeat: the volume names its claim, the volume is Bound,
// the claim names its volume, the claim is Bound. What a crash leaves half done is
// finished by whoever sees it next. A volume that had data is never given to a second
// claim before it is emptied; that external provisioners do, or a pod where the volume's
// policy is to recycle it, which stands in the namespace default while it is at work.
package persistentvolume
