export interface MediatedWorld { attack: never }
