from batchinf_assets.errors import ModelRefused, Refusal

raise ModelRefused("It holds a pickle.", reason=Refusal.PICKLE, next_step="Use skops.")
